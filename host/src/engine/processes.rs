//! Tests with several real processes: a test starts its own binary once more for every rank.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tch::{Device, Kind, Tensor, nn};

use super::EngineError;
use super::group::{PATIENCE, ProcessGroup, joined_sum};
use super::launch::Launch;
use super::sync_norm::{batch_norm, joined};

/// Names the folder that a test's processes share.
const FOLDER: &str = "LEUKO_TEST_FOLDER";

/// A port that nobody listens on now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("bound").port()
}

fn start(test: &str, rank: usize, world: usize, port: u16, folder: &Path) -> Child {
    Command::new(std::env::current_exe().expect("the test's own binary"))
        .args([test, "--exact", "--nocapture"])
        .env("RANK", rank.to_string())
        .env("WORLD_SIZE", world.to_string())
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port.to_string())
        .env("GLOO_SOCKET_IFNAME", "lo")
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test's own binary starts")
}

fn ended_well(output: &Output) -> bool {
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed")
}

/// The group of a process that [`run_again`] started; `None` in the test itself.
pub(crate) fn own_group() -> Option<Arc<ProcessGroup>> {
    let launch = Launch::from_env().expect("set by `start`")?;
    let group = ProcessGroup::join(launch, Device::Cpu, Duration::from_secs(60));
    Some(Arc::new(group.expect("all come")))
}

/// The folder that the test gave to [`run_again`].
pub(crate) fn given_folder() -> PathBuf {
    std::env::var_os(FOLDER).map_or_else(PathBuf::new, PathBuf::from)
}

/// Starts `world` processes of a test, by its full name, and wants all to pass.
pub(crate) fn run_again(test: &str, world: usize, folder: &Path) {
    let port = free_port();
    let children: Vec<Child> = (0..world)
        .map(|rank| start(test, rank, world, port, folder))
        .collect();
    for (rank, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(ended_well(&output), "rank {rank}: {text}");
    }
}

/// In the test: starts `world` processes of it and wants all to pass. In those: `body`.
fn in_processes(test: &str, world: usize, body: impl FnOnce(Arc<ProcessGroup>)) {
    match own_group() {
        Some(group) => body(group),
        None => run_again(&format!("engine::processes::{test}"), world, Path::new("")),
    }
}

fn row(values: &[f32]) -> Tensor {
    Tensor::from_slice(values)
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.reshape([-1])).expect("32 bits on the CPU")
}

#[test]
fn three_processes_sum_what_each_has() {
    in_processes("three_processes_sum_what_each_has", 3, |group| {
        assert_eq!(group.world(), 3);
        let rank = group.rank() as f32;
        let mut values = row(&[1.0, rank]);
        group.sum(&mut values).expect("all are there");
        assert_eq!(floats(&values), [3.0, 3.0]);
        // A view with gaps is summed as well as a dense one.
        let mut wide = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]) + f64::from(rank);
        let mut column = wide.narrow(1, 1, 1);
        group.sum(&mut column).expect("all are there");
        assert_eq!(floats(&wide.narrow(1, 1, 1)), [6.0, 15.0]);
        assert_eq!(wide.double_value(&[0, 0]), f64::from(rank));
        group.broadcast(&mut wide).expect("all are there");
        assert_eq!(floats(&wide), [0.0, 6.0, 2.0, 3.0, 15.0, 5.0]);
        let mut numbers = [f64::from(rank), 0.5];
        group.sum_numbers(&mut numbers).expect("all are there");
        assert_eq!(numbers, [3.0, 1.5]);
        group.barrier().expect("all are there");
        group.wait_for_first().expect("all are there");
    });
}

#[test]
fn many_tensors_travel_in_buckets_and_come_back_to_their_places() {
    in_processes(
        "many_tensors_travel_in_buckets_and_come_back_to_their_places",
        2,
        |group| {
            // 16 MB, 16 MB and small change: more than one bucket of 25 MB.
            let big = 4 << 20;
            let filled = |size: i64, value: f64| {
                Tensor::full(
                    [size],
                    value + group.rank() as f64,
                    (Kind::Float, Device::Cpu),
                )
            };
            let mut tensors = vec![
                filled(3, 1.0),
                filled(big, 2.0),
                filled(big, 3.0),
                filled(8, 4.0).view([2, 4]).transpose(0, 1),
            ];
            group.sum_all(&mut tensors).expect("both are there");
            for (index, expected) in [3.0, 5.0, 7.0, 9.0].into_iter().enumerate() {
                let (low, high) = (tensors[index].min(), tensors[index].max());
                assert_eq!(
                    (low.double_value(&[]), high.double_value(&[])),
                    (expected, expected)
                );
            }
            assert_eq!(tensors[3].size(), [4, 2]);
            group.broadcast_all(&mut []).expect("nothing to send");
        },
    );
}

#[test]
fn a_gradient_is_summed_on_its_way_back() {
    in_processes("a_gradient_is_summed_on_its_way_back", 2, |group| {
        let rank = group.rank() as f64;
        let x = row(&[1.0, 2.0]).set_requires_grad(true);
        let y = joined_sum(&group, &(&x * (rank + 1.0))).expect("both are there");
        assert_eq!(floats(&y), [3.0, 6.0]);
        // Losses: rank 0 sums y, rank 1 sums 10 y. d/dx of both together: 11 times own factor.
        let loss = y.sum(Kind::Float) * if rank == 0.0 { 1.0 } else { 10.0 };
        loss.backward();
        let factor = 11.0 * (rank as f32 + 1.0);
        assert_eq!(floats(&x.grad()), [factor, factor]);
    });
}

const EPS: f64 = 1e-3;
const MOMENTUM: f64 = 0.03;

fn norm(store: &nn::VarStore) -> nn::BatchNorm {
    let config = nn::BatchNormConfig {
        eps: EPS,
        momentum: MOMENTUM,
        ..Default::default()
    };
    let norm = nn::batch_norm2d(store.root(), 5, config);
    let (weight, bias) = (norm.ws.as_ref(), norm.bs.as_ref());
    tch::no_grad(|| {
        weight
            .expect("affine")
            .shallow_clone()
            .copy_(&row(&[1.0, 0.5, 2.0, 1.5, 0.1]));
        bias.expect("affine")
            .shallow_clone()
            .copy_(&row(&[0.0, 1.0, -1.0, 3.0, 0.5]));
    });
    norm
}

/// Output, gradient of the input, of weight and bias, running mean and variance.
fn trained(
    x: &Tensor,
    pull: &Tensor,
    group: Option<&Arc<ProcessGroup>>,
) -> (Tensor, Tensor, Vec<Tensor>, [Tensor; 2]) {
    let store = nn::VarStore::new(Device::Cpu);
    let norm = norm(&store);
    let x = x.detach().copy().set_requires_grad(true);
    let forward = || batch_norm(&x, &norm, EPS, MOMENTUM, true);
    let y = joined(group, forward).expect("all are there");
    (&y * pull).sum(Kind::Float).backward();
    let gradients = [norm.ws, norm.bs].map(|t| t.expect("affine").grad());
    let running = [norm.running_mean, norm.running_var].map(|t| t.shallow_clone());
    (y.detach(), x.grad(), gradients.into(), running)
}

fn worst(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    let scale = b.abs().max().double_value(&[]).max(1e-12);
    (a - b).abs().max().double_value(&[]) / scale
}

/// A plain batch norm over the joined batch is the truth; the processes have 3 and 1 pictures of 4,
/// which lie far from 0, where sums of squares would cancel.
#[test]
fn batch_norm_over_processes_equals_batch_norm_over_the_joined_batch() {
    in_processes(
        "batch_norm_over_processes_equals_batch_norm_over_the_joined_batch",
        2,
        |group| {
            tch::manual_seed(7);
            let x = Tensor::randn([4, 5, 6, 7], (Kind::Float, Device::Cpu)) * 2.0 + 30.0;
            let pull = Tensor::randn([4, 5, 6, 7], (Kind::Float, Device::Cpu));
            let (from, length) = [(0, 3), (3, 1)][group.rank()];
            let own = |t: &Tensor| t.narrow(0, from, length);
            let (y, dx, _, running) = trained(&x, &pull, None);
            let (found_y, found_dx, mut weights, found_running) =
                trained(&own(&x), &own(&pull), Some(&group));
            group.sum_all(&mut weights).expect("both are there");
            let (_, _, expected_weights, _) = trained(&x, &pull, None);
            assert!(
                worst(&found_y, &own(&y)) < 1e-5,
                "{}",
                worst(&found_y, &own(&y))
            );
            assert!(
                worst(&found_dx, &own(&dx)) < 1e-4,
                "{}",
                worst(&found_dx, &own(&dx))
            );
            for (found, expected) in weights.iter().zip(&expected_weights) {
                assert!(worst(found, expected) < 1e-4, "{}", worst(found, expected));
            }
            for (found, expected) in found_running.iter().zip(&running) {
                assert!(worst(found, expected) < 1e-6, "{}", worst(found, expected));
            }
        },
    );
}

#[test]
fn a_process_without_pictures_still_joins_the_statistics() {
    in_processes(
        "a_process_without_pictures_still_joins_the_statistics",
        2,
        |group| {
            tch::manual_seed(8);
            let x = Tensor::randn([2, 5, 3, 3], (Kind::Float, Device::Cpu));
            let pull = Tensor::randn([2, 5, 3, 3], (Kind::Float, Device::Cpu));
            let own = |t: &Tensor| t.narrow(0, 0, [2, 0][group.rank()]);
            let (y, dx, ..) = trained(&x, &pull, None);
            let (found_y, found_dx, weights, _) = trained(&own(&x), &own(&pull), Some(&group));
            assert_eq!(found_y.size()[0], [2, 0][group.rank()]);
            if group.is_first() {
                assert!(worst(&found_y, &y) < 1e-5);
                assert!(worst(&found_dx, &dx) < 1e-4);
            } else {
                assert!(
                    weights
                        .iter()
                        .all(|w| w.abs().max().double_value(&[]) == 0.0)
                );
            }
        },
    );
}

#[test]
fn without_a_group_batch_norm_is_the_plain_one() {
    if Launch::from_env().is_ok_and(|launch| launch.is_some()) {
        return;
    }
    let store = nn::VarStore::new(Device::Cpu);
    let norm = norm(&store);
    let x = Tensor::randn([2, 5, 3, 3], (Kind::Float, Device::Cpu));
    for train in [false, true] {
        let found = joined(None, || batch_norm(&x, &norm, EPS, MOMENTUM, train)).expect("alone");
        // The first call in training moved the running values; they do not enter training's result.
        assert_eq!(found, x.apply_t(&norm, train));
    }
}

/// Rank 1 leaves after the first sum; rank 0 finds it gone at once, forward and on the way back, and
/// says which rank waited for what.
#[test]
fn a_lost_peer_is_told_and_not_waited_for() {
    in_processes("a_lost_peer_is_told_and_not_waited_for", 2, |group| {
        let x = row(&[1.0]).set_requires_grad(true);
        let y = joined_sum(&group, &x).expect("both are there");
        if group.rank() == 1 {
            return;
        }
        let back = y.sum(Kind::Float).f_backward().expect_err("rank 1 is gone");
        let told = EngineError::of_libtorch(&back.to_string());
        assert!(matches!(told, EngineError::Peer(_)), "{told:?}");
        let text = told.to_string();
        let expected = "rank 0 of 2, sum: another process is gone, or was not heard of for 60 s (";
        assert!(text.starts_with(expected), "{text}");
        let error = group.barrier().expect_err("rank 1 is gone").to_string();
        assert!(
            error.starts_with("rank 0 of 2, barrier: another process is gone"),
            "{error}"
        );
        let store = nn::VarStore::new(Device::Cpu);
        let norm = norm(&store);
        let x = Tensor::randn([2, 5, 3, 3], (Kind::Float, Device::Cpu));
        let lost = joined(Some(&group), || batch_norm(&x, &norm, EPS, MOMENTUM, true));
        assert!(matches!(lost, Err(EngineError::Peer(_))), "{lost:?}");
    });
}

#[test]
fn who_comes_alone_is_told_after_its_patience() {
    if Launch::from_env().is_ok_and(|launch| launch.is_some()) {
        return;
    }
    for rank in [0, 1] {
        let port = free_port();
        let launch = Launch {
            rank,
            local_rank: 0,
            world: 2,
            host: "127.0.0.1".to_owned(),
            port,
            hosted: false,
            attempt: 0,
        };
        let joined = ProcessGroup::join(launch, Device::Cpu, Duration::from_secs(2));
        let text = joined.expect_err("nobody else").to_string();
        let expected = format!(
            "rank {rank} of 2, meeting the others at 127.0.0.1:{port}: not all came within 2 s ("
        );
        assert!(text.starts_with(&expected), "{text}");
    }
    assert_eq!(PATIENCE, Duration::from_secs(600));
}
