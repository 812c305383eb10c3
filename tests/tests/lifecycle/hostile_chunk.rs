//! Workers that lie about calls of several callers, which travel together.

use std::task::Poll;
use std::time::Instant;

use stockade::{Cause, Error, Host, Limiter, Running};
use stockade_tests::wait::RESOLVES;
use stockade_tests::{ByHand, eventually};

use crate::hosts::{comes_to_rest, hostile};

const CALLERS: u64 = 4;

const TAUGHT: u64 = 1000;

/// What a worker that replies to more calls than it has replies to those.
const MORE: u64 = 7;

const SENSELESS: &str = "what it replied to several calls at once does not make sense";

type Answer = ByHand<Running<(u64,), u64>>;

/// A host whose first worker does `what` when it has several calls at once, and calls that it has.
fn together(what: &str) -> (Host, Limiter, Vec<Answer>) {
    let since = Instant::now();
    loop {
        let limiter = Limiter::new(1);
        let host = hostile(&format!("{what}@1")).limiter(limiter.clone());
        let host = host.build_blocking().unwrap();
        let ask = |n| ByHand::new(host.call("answer", (n,)));
        // The host sees how short they are.
        let mut map = host.map::<_, (u64,), u64, _>("answer", (0..TAUGHT).map(|n| (n,)));
        for n in 0..TAUGHT {
            let answer = ByHand::new(map.next()).finish().unwrap();
            assert_eq!(answer.unwrap(), 2 * n + 1);
        }
        limiter.set_total(0);
        let mut callers: Vec<Answer> = (0..CALLERS).map(ask).collect();
        assert!(callers.iter_mut().all(|caller| caller.poll().is_pending()));
        limiter.set_total(1);
        // On a busy machine they may seem long.
        if callers[0].poll().is_pending() && host.stats().calls.together == CALLERS {
            return (host, limiter, callers);
        }
        assert!(since.elapsed() < RESOLVES, "they never travel together");
    }
}

/// What becomes of them when each looks again and again.
fn all_of(mut callers: Vec<Answer>) -> Vec<Result<u64, Error>> {
    let mut results: Vec<_> = callers.iter().map(|_| None).collect();
    eventually(RESOLVES, || {
        for (caller, result) in callers.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(ended) = caller.poll()
            {
                *result = Some(ended);
            }
        }
        results.iter().all(Option::is_some)
    });
    results.into_iter().flatten().collect()
}

/// Which worker serves then.
fn serves_on(host: &Host, limiter: &Limiter) -> u64 {
    let answer = ByHand::new(host.run_sync::<_, _, u64>("answer", (21u64,))).finish();
    assert_eq!(answer.unwrap(), 43);
    comes_to_rest(host, limiter);
    host.stats().workers[0].id
}

/// How many of them are told of the lie, and which worker serves then.
fn lied_to(lie: &str) -> (u64, u64) {
    let (host, limiter, callers) = together(lie);
    let mut lied_to = 0;
    for (n, result) in (0..).zip(all_of(callers)) {
        match result {
            Ok(answer) => assert!([2 * n + 1, MORE].contains(&answer), "{lie}: {answer}"),
            Err(Error::BrokenWorker(broken)) => {
                assert!(
                    matches!(broken.cause(), Cause::Protocol(text) if text.contains(SENSELESS)),
                    "{lie}: {broken}"
                );
                lied_to += 1;
            }
            Err(other) => panic!("{lie}: {other}"),
        }
    }
    (lied_to, serves_on(&host, &limiter))
}

#[test]
fn each_lie_is_named_and_costs_nobody_but_those_who_were_lied_to() {
    for (lie, all) in [
        ("shared-of-garbage", CALLERS),
        ("shared-of-a-bad-failure", CALLERS),
        // All of them have a reply: it may be what it ought to be.
        ("shared-of-more", 0),
    ] {
        // On a busy machine they go elsewhere before the worker has come to lie.
        eventually(RESOLVES, || lied_to(lie) == (all, 2));
    }
}

#[test]
fn a_worker_that_does_not_begin_them_costs_none_of_them() {
    for way in ["shared-never", "shared-storm"] {
        eventually(RESOLVES, || {
            let (host, limiter, callers) = together(way);
            for (n, result) in (0..).zip(all_of(callers)) {
                assert_eq!(result.unwrap(), 2 * n + 1, "{way}");
            }
            // On a busy machine they are taken back before it has seen them, and it serves on.
            serves_on(&host, &limiter) == 2
        });
    }
}
