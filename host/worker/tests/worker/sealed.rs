//! What the kernel says about a sealed worker.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};
use stockade_wire::message::Seal;
use stockade_wire::namespaces::Namespace;

use crate::guests::WORK;
use crate::tiny_host::{Answer, Options, Worker};

/// A user that owns nothing, for the tests that must not be root.
const ORDINARY: u32 = 65_533;

#[test]
fn a_sealed_worker_has_given_up_what_it_can() {
    for uid in [None, Some(ORDINARY)] {
        let options = Options {
            uid,
            ..Options::default()
        };
        let mut worker = Worker::of(WORK, &options);
        let line = |name| worker.status(name).unwrap();
        assert_eq!(line("Seccomp:"), "2");
        assert_eq!(line("NoNewPrivs:"), "1");
        assert_eq!(line("Threads:"), "1");
        assert_eq!(line("CapEff:"), "0000000000000000");
        assert_eq!(line("CapPrm:"), "0000000000000000");
        assert_eq!(line("Name:"), "stockade-w7");
        let uids = line("Uid:");
        assert!(!uids.split_whitespace().any(|uid| uid == "0"), "{uids}");
        for open in worker.descriptors() {
            let is_namespace = Namespace::ALL
                .into_iter()
                .any(|one| open.starts_with(&format!("{}:[", one.link())));
            assert!(!is_namespace, "it was for the host: {open}");
        }
        assert_eq!(worker.call("echo", &[0, 1]), Answer::Value(vec![0, 1]));
        assert_eq!(worker.stop_running("spin"), Answer::Interrupted);
    }
}

#[test]
fn an_unsealed_worker_keeps_what_costs_nothing() {
    let options = Options {
        seal: Seal::None,
        ..Options::default()
    };
    let worker = Worker::of(WORK, &options);
    assert_eq!(worker.status("Seccomp:").unwrap(), "0");
    assert_eq!(worker.status("Threads:").unwrap(), "1");
}

/// Set in the process that the next test kills.
const DOOMED: &str = "STOCKADE_TEST_DOOMED_HOST";

#[test]
fn a_spinning_worker_dies_with_a_killed_host() {
    if std::env::var_os(DOOMED).is_some() {
        let mut worker = Worker::of(WORK, &Options::default());
        worker.publish("spin", &[0]);
        worker.wait_accepted();
        println!("\nworker {}", worker.pid());
        worker.wait();
        unreachable!("it spins until the host is killed");
    }
    // Its orphan becomes ours, so that we see how it ends and leave no zombie.
    set_child_subreaper(Some(getpid())).unwrap();
    let name = "sealed::a_spinning_worker_dies_with_a_killed_host";
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(DOOMED, "")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = BufReader::new(host.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("worker ")?.parse().ok())
        .expect("the host says which process its worker is");
    host.kill().unwrap();
    host.wait().unwrap();
    let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty())
        .unwrap()
        .expect("a blocking wait");
    assert_eq!(status.terminating_signal(), Some(9));
}
