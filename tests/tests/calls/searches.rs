//! Searches whose patterns backtrack: some end soon, some never would.

use std::time::Duration;

use serde::Deserialize;
use stockade::{Error, Host, Phase, WorkerState};
use stockade_tests::{BOUND, eventually_async, guest, host_of};

const LOG: &str = include_str!("../../texts/access.log");

/// A pattern, and what a text that is hostile to it repeats. Each takes longer than anybody would wait.
const CATASTROPHES: [(&str, &str, usize); 5] = [
    // Words of a language that can be cut in many ways, and an end that never comes.
    (r"(?i)(a|b|ab)*(?>c)", "ab", 200),
    (r"^(([a-z])+.)+[A-Z]([a-z])+\1$", "a", 100),
    // A field of a CSV file.
    (
        r#"^(?:"(?:\\.|[^"\\])*"|(?:(?!,).)+)+(?:,|$)(?<!x)z"#,
        "a",
        100,
    ),
    // An address whose name is repeated behind the sign.
    (
        r"^(?<name>(?:[a-z0-9]+[-_.]?)+)@\k<name>\.example$",
        "a",
        100,
    ),
    // The heart of a rule that once took down a large part of the web, with a look ahead.
    (r"(?:.*(?:.*=.*))(?!x)\b\B", "x=", 20_000),
];

#[derive(Debug, Deserialize)]
struct Match {
    start: usize,
    end: usize,
    groups: Vec<Option<String>>,
}

async fn search(host: &Host, pattern: &str, text: &str) -> Result<Vec<Match>, String> {
    host.run_sync("search", (pattern, text)).await.unwrap()
}

#[tokio::test]
async fn a_search_finds_what_is_there() {
    let host = host_of(guest::regex()).build().await.unwrap();
    // Clients that came twice in a row: what the same rule in Rust says.
    let clients: Vec<_> = LOG
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    let twice = clients.windows(2).filter(|two| two[0] == two[1]).count();
    assert!(twice > 20);
    let found = search(&host, r"(?m)^(\S+) (?=.*\n\1 )", LOG).await.unwrap();
    assert_eq!(found.len(), twice);
    for one in &found {
        assert!(LOG[one.start..one.end].starts_with(one.groups[1].as_deref().unwrap()));
    }

    let failures = LOG
        .lines()
        .filter(|line| line.contains("\" 500 ") || line.contains("\" 503 "))
        .count();
    let found = search(&host, r#"(?<=" )50[03](?= )"#, LOG).await.unwrap();
    assert_eq!(found.len(), failures);

    // What is written about people leaves no address behind.
    let args = (r"(?m)^(\d+\.\d+)\.\d+\.\d+", LOG, "$1.x.x");
    let hidden: Result<String, String> = host.run_sync("replace", args).await.unwrap();
    let hidden = hidden.unwrap();
    assert_eq!(hidden.matches(".x.x - - ").count(), LOG.lines().count());
    assert!(search(&host, "a(b", "").await.is_err());
}

#[tokio::test]
async fn a_catastrophic_search_is_stopped_by_its_timeout_and_the_same_worker_serves_on() {
    let host = host_of(guest::regex())
        .workers(1)
        .interrupt_grace(BOUND)
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    for (pattern, repeated, times) in CATASTROPHES {
        let text = repeated.repeat(times);
        let call = host
            .call::<_, _, Result<Vec<Match>, String>>("search", (pattern, text))
            .timeout(Duration::from_millis(100));
        let ended = call.await;
        assert!(
            matches!(
                ended,
                Err(Error::Timeout {
                    phase: Phase::Running,
                    ..
                })
            ),
            "{pattern}: {ended:?}"
        );
        assert_eq!(search(&host, "a+", "baab").await.unwrap()[0].start, 1);
    }
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn while_a_catastrophic_search_runs_others_are_served() {
    let host = host_of(guest::regex())
        .workers(2)
        .interrupt_grace(BOUND)
        .build()
        .await
        .unwrap();
    let (pattern, repeated, times) = CATASTROPHES[0];
    let args = (pattern, repeated.repeat(times));
    let endless = host
        .call::<_, _, Result<Vec<Match>, String>>("search", args)
        .spawn();
    let running = || {
        let workers = host.stats().workers;
        workers
            .iter()
            .filter(|worker| worker.state == WorkerState::Running)
            .count()
    };
    eventually_async(BOUND, || running() == 1).await;
    for _ in 0..50 {
        let found = search(&host, r"(\d)\1", LOG).await.unwrap();
        assert!(found.len() > 100);
    }
    assert_eq!(running(), 1, "the endless one still runs");
    endless.cancel();
    assert!(endless.await.unwrap_err().is_cancelled());
}
