//! The calls of a storm: what each asks for, how its caller treats it, and which answer is its own.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stockade::{Call, Codec, Error, OnDrop};

use super::subject::{Ended, May, Subject};
use crate::Random;
use crate::wait::RESOLVES;

/// What `spin_for` returns: all numbers below `turns`, added without carry.
#[must_use]
pub fn spun(turns: u64) -> u64 {
    match turns % 4 {
        0 => 0,
        1 => turns.wrapping_sub(1),
        2 => 1,
        _ => turns,
    }
}

/// What a call asks of the guest.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// A number back.
    Number,
    /// To compute for so many turns.
    Spin(u64),
    /// So much text back.
    Text(usize),
    /// A host function, which counts.
    Effect,
    /// So many items.
    Items(u32),
    /// So many calls in one stream.
    Map(u64),
}

/// How a caller treats its call.
#[derive(Debug, Clone, Copy)]
enum Treatment {
    /// Awaits it.
    Await,
    /// Takes it only without waiting.
    Try,
    /// Gives it so long to run.
    Timeout(Duration),
    /// Gives it so long to wait.
    QueueTimeout(Duration),
    /// Drops it after so many polls.
    Drop(u32),
    /// Drops it after so many polls, and lets it go on.
    Detach(u32),
    /// Drops it after a time.
    DropAfter(Pause),
    /// Cancels it after a time.
    Cancel(Pause),
}

#[derive(Debug, Clone, Copy)]
enum Pause {
    /// So many turns of other tasks.
    Turns(u64),
    Millis(u64),
}

impl Pause {
    fn draw(random: &mut Random) -> Self {
        match random.below(4) {
            0 => Self::Millis(1 + random.below(3)),
            _ => Self::Turns(random.below(40)),
        }
    }

    async fn pass(self) {
        match self {
            Self::Turns(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            Self::Millis(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
    }
}

/// A call before it is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft {
    work: Work,
    treatment: Treatment,
    codec: Codec,
}

impl Draft {
    pub(super) fn draw(random: &mut Random) -> Self {
        let work = match random.below(100) {
            0..35 => Work::Number,
            // Up to the time that starting a worker takes.
            35..40 => Work::Spin(random.below(3_000_000)),
            40..60 => Work::Spin(random.below(60_000)),
            // Often within a page, at times so long that its pages are given back.
            60..75 => Work::Text(random.below(5_000) as usize),
            75..78 => Work::Text(random.below(300_000) as usize),
            78..92 => Work::Effect,
            92..98 => Work::Items(random.below(8) as u32),
            _ => Work::Map(random.below(30)),
        };
        let micros = Duration::from_micros(1 + random.below(2_000));
        let treatment = match random.below(100) {
            0..60 => Treatment::Await,
            60..66 => Treatment::Try,
            66..72 => Treatment::Timeout(micros),
            72..76 => Treatment::QueueTimeout(micros),
            76..83 => Treatment::Drop(random.below(5) as u32),
            83..86 => Treatment::Detach(1 + random.below(3) as u32),
            86..92 => Treatment::DropAfter(Pause::draw(random)),
            _ => Treatment::Cancel(Pause::draw(random)),
        };
        let codec = match random.below(4) {
            0 => Codec::Json,
            _ => Codec::Bincode,
        };
        Self {
            work,
            treatment,
            codec,
        }
    }

    /// One of a kind that waits in line with others, and mostly may travel with them: short, of few functions, and without
    /// host functions.
    pub(super) fn draw_in_line(random: &mut Random) -> Self {
        let draft = Self::draw(random);
        let work = match (random.below(100), draft.work) {
            (0..60, _) | (_, Work::Effect) => Work::Number,
            (60..95, _) => Work::Spin(random.below(300)),
            (95..97, _) => Work::Spin(random.below(3_000_000)),
            (_, work) => work,
        };
        let codec = Codec::Bincode;
        Self {
            work,
            codec,
            ..draft
        }
    }

    /// Makes the call, and tells `subject` what has become of it.
    pub(super) async fn perform(self, subject: &Arc<Subject>, nonce: u64) {
        let host = &subject.host;
        match self.work {
            Work::Number if matches!(self.treatment, Treatment::Try) => {
                subject.made(1);
                let call = host.try_run_sync::<_, _, u64>("echo_u64", (nonce,));
                let ended = match tokio::time::timeout(RESOLVES, call).await {
                    Ok(Ok(answer)) if answer == nonce => Ended::Answered,
                    Ok(Ok(_)) => Ended::Wrong,
                    Ok(Err(error)) => Ended::Failed(error),
                    Err(_) => self.never(subject),
                };
                subject.ended(nonce, ended, May::BE_REFUSED);
            }
            Work::Number => {
                self.make(subject, nonce, host.call("echo_u64", (nonce,)), nonce)
                    .await;
            }
            Work::Spin(turns) => {
                let call = host.call("spin_for", (turns,));
                self.make(subject, nonce, call, spun(turns)).await;
            }
            Work::Text(len) => {
                let mut text = format!("{nonce} ").repeat(len / 8 + 1);
                text.truncate(len);
                let call = host.call("echo_string", (text.clone(),));
                self.make(subject, nonce, call, text).await;
            }
            Work::Effect => {
                let call = host.call("sum_of_doubles", (vec![nonce],));
                let answered = self.make(subject, nonce, call, 2 * nonce).await;
                subject.effect_seen(nonce, answered);
            }
            Work::Items(count) => self.stream(subject, nonce, count).await,
            Work::Map(count) => self.map(subject, nonce, count).await,
        }
    }

    fn never(self, subject: &Subject) -> Ended {
        Ended::Never(format!("{self:?}, {:?}", subject.host.stats()))
    }

    /// Whether it was answered.
    async fn make<A, R>(self, subject: &Subject, nonce: u64, call: Call<A, R>, right: R) -> bool
    where
        A: Serialize + Send + 'static,
        R: DeserializeOwned + Send + PartialEq + 'static,
    {
        subject.made(1);
        let call = call.codec(self.codec);
        let outcome = tokio::time::timeout(RESOLVES, self.treat(call)).await;
        let (outcome, may) = match outcome {
            Ok(outcome) => outcome,
            Err(_) => return subject.ended(nonce, self.never(subject), May::NOTHING),
        };
        let ended = match outcome {
            Some(Ok(answer)) if answer == right => Ended::Answered,
            Some(Ok(_)) => Ended::Wrong,
            Some(Err(error)) => Ended::Failed(error),
            None if matches!(self.treatment, Treatment::Detach(_)) => Ended::Detached,
            None => Ended::Dropped,
        };
        subject.ended(nonce, ended, may)
    }

    /// What became of the call, unless it was dropped, and which errors its caller asked for.
    async fn treat<A, R>(self, call: Call<A, R>) -> (Option<Result<R, Error>>, May)
    where
        A: Serialize + Send + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        match self.treatment {
            Treatment::Await => (Some(call.await), May::NOTHING),
            // As near as a call with choices comes to one that may not wait.
            Treatment::Try => {
                let call = call.queue_timeout(Duration::ZERO);
                (Some(call.await), May::TIME_OUT)
            }
            Treatment::Timeout(timeout) => (Some(call.timeout(timeout).await), May::TIME_OUT),
            Treatment::QueueTimeout(timeout) => {
                (Some(call.queue_timeout(timeout).await), May::TIME_OUT)
            }
            Treatment::Drop(polls) => (polled(call.into_future(), polls).await, May::NOTHING),
            Treatment::Detach(polls) => {
                let call = call.on_drop(OnDrop::Detach).into_future();
                (polled(call, polls).await, May::NOTHING)
            }
            Treatment::DropAfter(pause) => {
                tokio::select! {
                    biased;
                    result = call.into_future() => (Some(result), May::NOTHING),
                    () = pause.pass() => (None, May::NOTHING),
                }
            }
            Treatment::Cancel(pause) => {
                let handle = call.spawn();
                pause.pass().await;
                handle.cancel();
                (Some(handle.await), May::BE_CANCELLED)
            }
        }
    }

    /// How many items or results to take of `count`, where the call may be dropped.
    fn taken(self, count: u64) -> u64 {
        match self.treatment {
            Treatment::Drop(polls) => count.min(polls.into()),
            _ => u64::MAX,
        }
    }

    async fn stream(self, subject: &Subject, nonce: u64, count: u32) {
        let mut items = subject.host.stream::<_, _, u32>("emit_numbers", (count,));
        subject.made(1);
        let take = self.taken(count.into());
        let all = async {
            for place in 0.. {
                if u64::from(place) == take {
                    return Ended::Dropped;
                }
                match items.next().await {
                    Some(Ok(item)) if item == place && item < count => {}
                    Some(Ok(_)) => return Ended::Wrong,
                    Some(Err(error)) => return Ended::Failed(error),
                    None => break,
                }
            }
            match items.result::<u32>() {
                Some(Ok(answer)) if answer == count => Ended::Answered,
                _ => Ended::Wrong,
            }
        };
        let ended = tokio::time::timeout(RESOLVES, all).await;
        // One that was not polled was not begun.
        subject.ended(
            nonce,
            ended.unwrap_or_else(|_| self.never(subject)),
            May::NOTHING,
        );
    }

    async fn map(self, subject: &Subject, nonce: u64, count: u64) {
        let inputs = (0..count).map(|place| {
            subject.made(1);
            (nonce + place,)
        });
        let mut results = subject.host.map::<_, (u64,), u64, _>("echo_u64", inputs);
        let take = self.taken(count);
        let mut begun = 0;
        while begun < take {
            let ended = match tokio::time::timeout(RESOLVES, results.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(answer))) if answer == nonce + begun => Ended::Answered,
                Ok(Some(Ok(_))) => Ended::Wrong,
                Ok(Some(Err(error))) => Ended::Failed(error),
                Err(_) => self.never(subject),
            };
            let hangs = matches!(ended, Ended::Never(_));
            subject.ended(nonce + begun, ended, May::NOTHING);
            begun += 1;
            if hangs {
                return;
            }
        }
        if take > count {
            subject.expect_all_results(nonce, begun, count);
        }
    }
}

/// What comes of a future that is dropped after so many polls, if it is not ready before.
async fn polled<F: Future + Unpin>(mut future: F, polls: u32) -> Option<F::Output> {
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match Pin::new(&mut future).poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// One call that a hostile worker answers, or lies about.
pub(super) async fn ask_a_liar(subject: &Subject, nonce: u64) {
    subject.made(1);
    let answer = subject.host.call::<_, _, u64>("answer", (nonce,));
    let ended = match tokio::time::timeout(RESOLVES, answer.into_future()).await {
        // What such a worker answers is its own affair.
        Ok(Ok(_)) => Ended::Answered,
        Ok(Err(error)) => Ended::Failed(error),
        Err(_) => Ended::Never(String::new()),
    };
    subject.ended(nonce, ended, May::ANYTHING);
}
