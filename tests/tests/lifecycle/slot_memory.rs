//! The memory between a host and its worker.

use std::time::Duration;

use stockade::{Bytes, Host, Limits};
use stockade_tests::{alone, eventually};

use crate::by_hand::ByHand;
use crate::hosts::{hostile, only_pid, outcome, probe};

/// How many bytes of its slots a process has resident.
fn resident_bytes_of_slots(process: &str) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{process}/smaps")).unwrap();
    let mut in_slot = false;
    let mut kib = 0;
    for line in maps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if !first.ends_with(':') {
            in_slot = line.contains("/memfd:stockade-");
        } else if in_slot && first == "Rss:" {
            let words: Vec<&str> = line.split_whitespace().collect();
            kib += words[1].parse::<u64>().unwrap();
        }
    }
    kib << 10
}

fn echo(host: &Host, len: usize) {
    let sent = Bytes::from(vec![0xa5; len]);
    let echoed: Bytes = ByHand::new(host.run_sync("echo", (sent.clone(),)))
        .finish()
        .unwrap();
    assert!(echoed == sent);
}

#[test]
fn pages_of_a_large_payload_are_given_back_after_an_idle_second() {
    alone(|| {
        let (builder, _) = probe();
        let host = builder.workers(1).build_blocking().unwrap();
        for _ in 0..2 {
            echo(&host, 16 << 20);
            let held = resident_bytes_of_slots("self");
            assert!(held > 30 << 20, "{held} bytes are held for the next call");
            eventually(Duration::from_secs(10), || {
                resident_bytes_of_slots("self") < 256 << 10
            });
        }
        // In one direction only.
        let made: Bytes = ByHand::new(host.run_sync("make_bytes", (16u64 << 20,)))
            .finish()
            .unwrap();
        assert_eq!(made.len(), 16 << 20);
        eventually(Duration::from_secs(10), || {
            resident_bytes_of_slots("self") < 256 << 10
        });
        let sent = Bytes::from(vec![1; 16 << 20]);
        let taken: usize = ByHand::new(host.run_sync("takes_ref_bytes", (sent,)))
            .finish()
            .unwrap();
        assert_eq!(taken, 16 << 20);
        eventually(Duration::from_secs(10), || {
            resident_bytes_of_slots("self") < 256 << 10
        });
    });
}

#[tokio::test]
async fn a_worker_can_neither_change_its_request_nor_resize_its_memories() {
    let host = hostile("try-seals").build().await.unwrap();
    let said: String = outcome(host.run_sync("say", ())).await.unwrap();
    assert_eq!(said, "hello");
}

#[test]
fn pages_that_a_worker_dirties_for_nothing_are_bounded_and_given_back_with_those_of_a_payload() {
    let limits = Limits {
        payload_bytes: 8 << 20,
        ..Limits::default()
    };
    let host = hostile("dirty-pages")
        .limits(limits)
        .build_blocking()
        .unwrap();
    let pid = only_pid(&host).to_string();
    let said: String = ByHand::new(host.run_sync("say", ())).finish().unwrap();
    assert_eq!(said, "hello");
    let held = resident_bytes_of_slots(&pid);
    // The longest reply, and the room for those of a chunk before it.
    assert!((8 << 20..10 << 20).contains(&held), "{held} bytes");
    echo(&host, 1 << 20);
    eventually(Duration::from_secs(10), || {
        resident_bytes_of_slots(&pid) < 256 << 10
    });
    assert_eq!(only_pid(&host).to_string(), pid);
}
