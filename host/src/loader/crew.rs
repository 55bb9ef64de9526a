//! Threads that make items together and hand them out in groups, in order.
//!
//! Every thread takes the next item, whichever group it is of, so that the first group is ready as
//! soon as it can be. What an item is does not depend on the thread that made it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

/// How many hands, and how far ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crew {
    /// Threads.
    pub workers: usize,
    /// Groups in the making or waiting, beside the one that was handed out.
    pub ahead: usize,
}

/// The next item to make and the first that is not allowed yet.
struct Board {
    state: Mutex<Progress>,
    changed: Condvar,
}

struct Progress {
    next: usize,
    allowed: usize,
    stopped: bool,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().expect("nobody panics holding it")
    }

    /// The next of `n` items; waits until it is allowed.
    fn take(&self, n: usize) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.stopped || state.next == n {
                return None;
            }
            if state.next < state.allowed {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.changed.wait(state).expect("nobody panics holding it");
        }
    }

    fn allow(&self, end: usize) {
        self.lock().allowed = end;
        self.changed.notify_all();
    }
}

/// Stops everybody when it goes, also when its thread panics: nobody waits for what will not come.
struct StopAtEnd<'a>(&'a Board);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
    }
}

/// A group in the making.
struct Group<T, E> {
    items: Vec<Option<T>>,
    missing: usize,
    /// Of the first item that failed, by its position.
    error: Option<(usize, E)>,
}

impl<T, E> Group<T, E> {
    /// Puts an item in; the whole group when it was the last.
    fn put(&mut self, at: usize, item: Result<T, E>) -> Option<Result<Vec<T>, E>> {
        match item {
            Ok(item) => self.items[at] = Some(item),
            Err(error) if self.error.as_ref().is_none_or(|(first, _)| at < *first) => {
                self.error = Some((at, error));
            }
            Err(_) => {}
        }
        self.missing -= 1;
        if self.missing > 0 {
            return None;
        }
        let items = std::mem::take(&mut self.items);
        Some(match self.error.take() {
            Some((_, error)) => Err(error),
            None => Ok(items.into_iter().flatten().collect()),
        })
    }
}

/// Makes `sizes[g]` items of each group `g` with `make(g, item)`, joins them with `gather` on the
/// thread that made the last of them, and hands the groups to `each` in order, until it returns false.
///
/// # Errors
/// The first of the first group in which an item failed; groups before it were handed out.
pub(super) fn in_order<T: Send, G: Send, E: Send>(
    sizes: &[usize],
    crew: Crew,
    make: impl Fn(usize, usize) -> Result<T, E> + Sync,
    gather: impl Fn(Vec<T>) -> G + Sync,
    mut each: impl FnMut(G) -> bool,
) -> Result<(), E> {
    let of_group = |(group, &size): (usize, &usize)| (0..size).map(move |item| (group, item));
    let jobs: Vec<(usize, usize)> = sizes.iter().enumerate().flat_map(of_group).collect();
    let empty = |&size: &usize| {
        Mutex::new(Group {
            items: (0..size).map(|_| None).collect(),
            missing: size,
            error: None,
        })
    };
    let groups: Vec<Mutex<Group<T, E>>> = sizes.iter().map(empty).collect();
    let state = Mutex::new(Progress {
        next: 0,
        allowed: 0,
        stopped: false,
    });
    let board = Board {
        state,
        changed: Condvar::new(),
    };
    let (send, receive) = channel();
    let work = |send: Sender<(usize, Result<G, E>)>| {
        let _stop = StopAtEnd(&board);
        while let Some(job) = board.take(jobs.len()) {
            let (group, item) = jobs[job];
            let made = make(group, item);
            let mut slot = groups[group].lock().expect("nobody panics holding it");
            let whole = slot.put(item, made);
            drop(slot);
            if let Some(whole) = whole
                && send.send((group, whole.map(&gather))).is_err()
            {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..crew.workers.clamp(1, jobs.len().max(1)) {
            let (work, send) = (&work, send.clone());
            scope.spawn(move || work(send));
        }
        drop(send);
        let _stop = StopAtEnd(&board);
        let mut early = BTreeMap::new();
        let mut allowed = sizes.iter().take(crew.ahead).sum();
        for (group, &size) in sizes.iter().enumerate() {
            allowed += sizes.get(group + crew.ahead).unwrap_or(&0);
            board.allow(allowed);
            if size == 0 {
                early.insert(group, Ok(gather(Vec::new())));
            }
            let whole = loop {
                if let Some(whole) = early.remove(&group) {
                    break whole;
                }
                let Ok((number, whole)) = receive.recv() else {
                    // A worker panicked, and with it all stopped; the scope passes the panic on.
                    return Ok(());
                };
                early.insert(number, whole);
            };
            if !each(whole?) {
                break;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    const CREW: Crew = Crew {
        workers: 3,
        ahead: 2,
    };

    fn numbers(sizes: &[usize], crew: Crew) -> Vec<Vec<usize>> {
        let mut out = Vec::new();
        let make = |group: usize, item: usize| {
            // Later items are faster, so that groups become ready out of order.
            thread::sleep(Duration::from_micros(200 * (7 - group as u64 % 7)));
            Ok::<_, ()>(10 * group + item)
        };
        in_order(
            sizes,
            crew,
            make,
            |items| items,
            |group| {
                out.push(group);
                true
            },
        )
        .expect("nothing fails");
        out
    }

    #[test]
    fn groups_come_in_order_however_many_hands_there_are() {
        let sizes = [3, 1, 0, 4, 2, 2, 2, 0, 5, 1];
        let expected: Vec<Vec<usize>> = sizes
            .iter()
            .enumerate()
            .map(|(group, &size)| (0..size).map(|item| 10 * group + item).collect())
            .collect();
        for workers in [1, 2, 7, 64] {
            for ahead in [0, 1, 20] {
                assert_eq!(numbers(&sizes, Crew { workers, ahead }), expected);
            }
        }
        assert_eq!(numbers(&[], CREW), Vec::<Vec<usize>>::new());
        assert_eq!(numbers(&[0, 0], CREW), vec![Vec::<usize>::new(); 2]);
    }

    #[test]
    fn nobody_runs_further_ahead_than_allowed() {
        let made = AtomicUsize::new(0);
        let make = |_, _| {
            made.fetch_add(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        };
        let mut taken = 0;
        in_order(
            &[4; 20],
            CREW,
            make,
            |_| (),
            |()| {
                thread::sleep(Duration::from_millis(2));
                taken += 1;
                let made = made.load(Ordering::SeqCst);
                assert!(made <= 4 * (taken + CREW.ahead), "{made} after {taken}");
                true
            },
        )
        .expect("nothing fails");
    }

    #[test]
    fn the_first_failure_ends_it_and_what_was_before_is_handed_out() {
        let make = |group: usize, item: usize| match (group, item) {
            (3, 1) => {
                thread::sleep(Duration::from_millis(5));
                Err("first")
            }
            (3, 2) | (4, _) => Err("later"),
            _ => Ok(()),
        };
        let mut groups = 0;
        let result = in_order(
            &[3; 9],
            CREW,
            make,
            |_| (),
            |()| {
                groups += 1;
                true
            },
        );
        assert_eq!((result, groups), (Err("first"), 3));
    }

    #[test]
    fn it_ends_when_the_taker_has_enough() {
        let mut groups = 0;
        let result = in_order(
            &[2; 50],
            CREW,
            |_, _| Ok::<_, ()>(()),
            |_| (),
            |()| {
                groups += 1;
                groups < 4
            },
        );
        assert_eq!((result, groups), (Ok(()), 4));
    }

    #[test]
    #[should_panic = "a scoped thread panicked"]
    fn a_panic_of_a_worker_reaches_the_caller() {
        let make = |group: usize, _: usize| -> Result<(), ()> {
            assert!(group < 5, "made up");
            Ok(())
        };
        let _ = in_order(&[2; 50], CREW, make, |_| (), |()| true);
    }
}
