//! Parts of a map for several threads.

use rayon::ThreadPool;
use rayon::prelude::*;

/// Calls `work` with the number and the values of each part of `chunk` values, on the pool's threads
/// where there is one and more than one part.
pub(crate) fn share<T: Send>(
    pool: Option<&ThreadPool>,
    values: &mut [T],
    chunk: usize,
    work: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let parts = || values.len().div_ceil(chunk.max(1));
    match pool {
        Some(pool) if parts() > 1 => pool.install(|| {
            let parts = values.par_chunks_mut(chunk.max(1)).with_max_len(1);
            parts
                .enumerate()
                .for_each(|(part, values)| work(part, values));
        }),
        _ => {
            let parts = values.chunks_mut(chunk.max(1)).enumerate();
            parts.for_each(|(part, values)| work(part, values));
        }
    }
}

/// Calls `work` with the number of each of `parts` parts, on the pool's threads where there is one and
/// more than one part.
pub(crate) fn share_parts(
    pool: Option<&ThreadPool>,
    parts: usize,
    work: impl Fn(usize) + Sync + Send,
) {
    match pool {
        Some(pool) if parts > 1 => pool.install(|| {
            let parts = (0..parts).into_par_iter().with_max_len(1);
            parts.for_each(work);
        }),
        _ => (0..parts).for_each(work),
    }
}
