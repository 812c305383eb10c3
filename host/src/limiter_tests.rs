//! Who gets a permit when, and that none is lost.

use super::*;
use crate::Codec;
use crate::rider::Route;

fn poll(wait: &mut WaitPermit) -> Poll<Permit> {
    wait.poll_permit(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn permits_go_round_in_order_and_none_is_lost() {
    let limiter = Limiter::new(1);
    let first = limiter.acquire(|| None).unwrap();
    let mut second = limiter.acquire(|| None).unwrap_err();
    let mut third = limiter.acquire(|| None).unwrap_err();
    assert_eq!((limiter.available(), limiter.waiting()), (0, 2));
    drop(first);
    assert!(poll(&mut third).is_pending());
    let Poll::Ready(permit) = poll(&mut second) else {
        panic!("the first in line was passed over")
    };
    drop(permit);
    // Given but never polled: dropping the place passes it on.
    drop(third);
    assert_eq!(
        (limiter.available(), limiter.borrowed(), limiter.waiting()),
        (1, 0, 0)
    );
}

#[test]
fn who_lent_a_permit_goes_before_those_who_never_had_one() {
    let limiter = Limiter::new(1);
    let permit = limiter.acquire(|| None).unwrap();
    let mut later = limiter.acquire(|| None).unwrap_err();
    let mut first = limiter.acquire_first().unwrap_err();
    let mut second = limiter.acquire_first().unwrap_err();
    assert_eq!(limiter.waiting(), 3);
    drop(permit);
    assert!(poll(&mut later).is_pending() && poll(&mut second).is_pending());
    let Poll::Ready(permit) = poll(&mut first) else {
        panic!("who was first was passed over")
    };
    drop(permit);
    assert!(poll(&mut later).is_pending());
    drop(second);
    assert!(poll(&mut later).is_ready());
    assert_eq!((limiter.available(), limiter.waiting()), (1, 0));
}

#[test]
fn a_shrink_takes_effect_as_permits_come_back() {
    let limiter = Limiter::new(2);
    let (a, b) = (
        limiter.acquire(|| None).unwrap(),
        limiter.acquire(|| None).unwrap(),
    );
    limiter.set_total(1);
    let mut wait = limiter.acquire(|| None).unwrap_err();
    drop(a);
    assert!(poll(&mut wait).is_pending());
    drop(b);
    assert!(poll(&mut wait).is_ready());
    assert_eq!(limiter.borrowed(), 0);
    limiter.set_total(0);
    let mut wait = limiter.acquire(|| None).unwrap_err();
    assert!(poll(&mut wait).is_pending());
    limiter.set_total(3);
    assert!(poll(&mut wait).is_ready());
    assert_eq!((limiter.borrowed(), limiter.available()), (0, 3));
}

#[test]
fn no_permit_is_lost_or_made_when_threads_race() {
    const ROUNDS: usize = 20_000;
    let limiter = Limiter::new(2);
    let running = AtomicIsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (limiter, running) = (&limiter, &running);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let permit = match limiter.acquire(|| None) {
                        Ok(permit) => permit,
                        // Some leave the queue, given or not.
                        Err(place) if (round + thread) % 3 == 0 => {
                            drop(place);
                            continue;
                        }
                        Err(mut place) => {
                            crate::park::block_on(std::future::poll_fn(|cx| place.poll_permit(cx)))
                        }
                    };
                    assert!(running.fetch_add(1, Ordering::SeqCst) < 2);
                    running.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    let end = (limiter.borrowed(), limiter.available(), limiter.waiting());
    assert_eq!(end, (0, 2, 0));
    assert!(!limiter.0.contended.load(Ordering::SeqCst));
}

fn short(function: usize) -> Option<Arc<Rider>> {
    let route = Route {
        pool: 0,
        function,
        codec: Codec::default(),
        timeout: None,
    };
    Some(Rider::new(route, true, vec![0; 8]))
}

#[test]
fn of_short_calls_no_more_run_than_have_two_cpus_each_and_others_go_past_them() {
    let total = *SHORT_MAX + 2;
    let limiter = Limiter::new(total);
    let held: Vec<_> = (0..total)
        .map(|_| limiter.acquire(|| None).unwrap())
        .collect();
    let mut short: Vec<_> = (0..*SHORT_MAX + 3)
        .map(|_| limiter.acquire(|| short(0)).unwrap_err())
        .collect();
    drop(held);
    let mut running: Vec<_> = short.drain(..*SHORT_MAX).collect();
    let mut running: Vec<_> = running
        .iter_mut()
        .map(|wait| match poll(wait) {
            Poll::Ready(permit) => permit,
            Poll::Pending => panic!("the first in line were passed over"),
        })
        .collect();
    assert!(short.iter_mut().all(|wait| poll(wait).is_pending()));
    assert_eq!(limiter.available(), 2);
    // A permit is free, and nobody else wants it.
    assert!(limiter.acquire(|| None).is_ok());
    // Whoever is next runs when one of them is over.
    drop(running.pop());
    assert!(poll(&mut short[0]).is_ready());
    // That one is over, too; the next one has been given its permit, and leaves without having looked.
    drop(short.remove(0));
    drop(short.remove(0));
    assert!(poll(&mut short[0]).is_ready());
    drop((running, short));
    let end = (limiter.borrowed(), limiter.available(), limiter.waiting());
    assert_eq!(end, (0, total, 0));
    assert!(!limiter.0.contended.load(Ordering::SeqCst));
    assert_eq!(limiter.0.lock().short_running, 0);
}

#[test]
fn who_came_first_has_the_next_permit_whether_short_or_not() {
    let limiter = Limiter::new(1);
    let permit = limiter.acquire(|| None).unwrap();
    let kinds = [true, false, false, true, true];
    let mut waits: Vec<_> = kinds
        .iter()
        .map(|is_short| {
            limiter
                .acquire(|| short(0).filter(|_| *is_short))
                .unwrap_err()
        })
        .collect();
    drop(permit);
    while !waits.is_empty() {
        assert!(waits[1..].iter_mut().all(|wait| poll(wait).is_pending()));
        assert!(poll(&mut waits.remove(0)).is_ready());
    }
}

#[test]
fn a_short_call_takes_along_those_of_its_kind_that_are_next() {
    let limiter = Limiter::new(1);
    let permit = limiter.acquire(|| None).unwrap();
    let leader = short(0).unwrap();
    let mut first = limiter.acquire(|| Some(Arc::clone(&leader))).unwrap_err();
    let _others: Vec<_> = [0, 0, 0, 1, 0]
        .map(|function| limiter.acquire(|| short(function)).unwrap_err())
        .into();
    drop(permit);
    let Poll::Ready(Pass::Permit(permit, _)) = first.poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("the first in line was passed over")
    };
    assert!(permit.is_short);
    let share = 5usize.div_ceil(*SHORT_MAX);
    let along = limiter.take_along(&leader, 64, 1 << 20);
    assert_eq!(along.len(), share.min(3));
    assert_eq!(limiter.waiting(), 5 - along.len());
}
