//! Users' own scripts, under limits, with functions of the server's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stockade::{Cause, Error, Host, Items, Limits, Phase, Trap};
use stockade_tests::{BOUND, guest, host_of, traces};

const ORDERS: &str = include_str!("../../scripts/orders.json");
const REPORT: &str = include_str!("../../scripts/report.jq");
const PRICES: &str = include_str!("../../scripts/prices.jq");
const QUEENS: &str = include_str!("../../scripts/queens.jq");

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum ScriptError {
    Script {
        line: usize,
        column: usize,
        reason: String,
    },
    Input(String),
    Failed(String),
    Halted(i32),
}

type Outcome = Result<Vec<String>, ScriptError>;

async fn run(host: &Host, script: &str, input: &str) -> Result<Outcome, Error> {
    host.run_sync("run", (script, input)).await
}

/// The results of a script that gives some.
async fn results(host: &Host, script: &str, input: &str) -> Vec<Value> {
    let texts = run(host, script, input).await.unwrap().unwrap();
    texts
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

fn orders() -> Vec<Value> {
    let all: Value = serde_json::from_str(ORDERS).unwrap();
    all["orders"].as_array().unwrap().clone()
}

fn lines(order: &Value) -> &[Value] {
    order["lines"].as_array().unwrap()
}

#[tokio::test]
async fn a_script_says_what_the_same_rule_in_rust_says() {
    let host = host_of(guest::script()).build().await.unwrap();
    let report = &results(&host, REPORT, ORDERS).await[0];
    let mut articles = BTreeMap::new();
    let mut customers = BTreeMap::new();
    for order in orders() {
        let customer = order["customer"].as_str().unwrap().to_owned();
        for line in lines(&order) {
            let count = line["count"].as_u64().unwrap();
            let article = line["article"].as_str().unwrap().to_owned();
            *articles.entry(article).or_insert(0) += count;
            *customers.entry(customer.clone()).or_insert(0) +=
                count * line["cents"].as_u64().unwrap();
        }
    }
    assert_eq!(report["articles"], json!(articles));
    let reported = report["customers"].as_array().unwrap();
    assert_eq!(reported.len(), customers.len());
    for customer in reported {
        let name = customer["customer"].as_str().unwrap();
        assert_eq!(customer["cents"], json!(customers[name]), "{name}");
    }
    assert!(reported.is_sorted_by_key(|one| std::cmp::Reverse(one["cents"].as_u64())));

    assert_eq!(
        results(&host, QUEENS, "8").await,
        [json!([92, [0, 4, 7, 5, 2, 6, 1, 3]])]
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_script_is_told_with_its_place() {
    let host = host_of(guest::script()).build().await.unwrap();
    let check: Result<(), ScriptError> = host.run_sync("check", (".a |\n  nosuch",)).await.unwrap();
    let Err(ScriptError::Script {
        line,
        column,
        reason,
    }) = check
    else {
        panic!("{check:?}")
    };
    assert_eq!((line, column), (2, 3));
    assert_eq!(reason, "there is no filter `nosuch`");
    for (script, input, expected) in [
        (
            "1, error(\"mine\")",
            "1",
            ScriptError::Failed("mine".into()),
        ),
        ("halt(7)", "1", ScriptError::Halted(7)),
    ] {
        assert_eq!(run(&host, script, input).await.unwrap(), Err(expected));
    }
    let outcome = run(&host, ".", "{").await.unwrap();
    assert!(matches!(outcome, Err(ScriptError::Input(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_script_calls_functions_of_the_server_and_catches_their_refusals() {
    traces::keep();
    let price_of = async |article: String| {
        let article: String = serde_json::from_str(&article).map_err(|e| e.to_string())?;
        match article.as_str() {
            "a pot" => Err("pots are not for sale".to_owned()),
            known => Ok(known.len().to_string()),
        }
    };
    let host = host_of(guest::script())
        .function("price_of", price_of)
        .build()
        .await
        .unwrap();
    let mut pots = 0;
    let expected: Vec<Value> = orders()[..20]
        .iter()
        .map(|order| {
            let costs = lines(order).iter().map(|line| {
                let article = line["article"].as_str().unwrap();
                if article == "a pot" {
                    pots += 1;
                    return 0;
                }
                article.len() as u64 * line["count"].as_u64().unwrap()
            });
            json!(costs.sum::<u64>())
        })
        .collect();
    assert!(pots > 0);
    assert_eq!(results(&host, PRICES, ORDERS).await, expected);
    let told = traces::with("pots are not for sale");
    assert_eq!(told.len(), pots);
    assert!(told.iter().all(|trace| trace.target == "stockade::guest"));

    // What is not caught is the script's failure, and so is a function that is not there.
    let outcome = run(&host, "call(\"price_of\")", "\"a pot\"").await.unwrap();
    let refused = ScriptError::Failed("pots are not for sale".into());
    assert_eq!(outcome, Err(refused));
    let outcome = run(&host, "call(\"rob\")", "1").await.unwrap();
    let Err(ScriptError::Failed(reason)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(reason.contains("`price_of`"), "{reason}");
}

#[tokio::test]
async fn a_script_that_loops_is_stopped_and_the_same_worker_serves_on() {
    let host = host_of(guest::script())
        .workers(1)
        .interrupt_grace(BOUND)
        .function("never", async |_: String| {
            std::future::pending::<Result<String, String>>().await
        })
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    for script in [
        "def f: f; f",
        "last(repeat(1))",
        "until(false; . + 1)",
        "reduce range(infinite) as $n (0; . + $n)",
        "[range(12)] | def p: if length == 0 then [] else .[] as $x | [$x] + (. - [$x] | p) end; last(p)",
        // It waits for the server, and its time goes on.
        "call(\"never\")",
    ] {
        let call = host
            .call::<_, _, Outcome>("run", (script, "1"))
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
            "{script}: {ended:?}"
        );
        assert_eq!(results(&host, ". + 1", "1").await, [json!(2)]);
    }
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn a_script_that_takes_all_memory_or_stack_fails_its_own_call_alone() {
    let limits = Limits {
        memory_bytes: 64 << 20,
        ..Limits::default()
    };
    let host = host_of(guest::script())
        .workers(2)
        .limits(limits)
        .build()
        .await
        .unwrap();
    let others = {
        let host = host.clone();
        tokio::spawn(async move {
            for _ in 0..100 {
                assert_eq!(results(&host, QUEENS, "4").await.len(), 1);
            }
        })
    };
    let broken = async |script: &str| match run(&host, script, "1").await {
        Err(Error::BrokenWorker(broken)) => {
            assert!(!broken.process_died(), "{script}: {broken}");
            broken
        }
        other => panic!("{script}: {other:?}"),
    };
    for script in [
        "[range(1000000000)]",
        "\"x\" | until(false; . + .)",
        "[limit(1000000000; repeat(1))] | length",
    ] {
        let broken = broken(script).await;
        assert!(
            matches!(broken.cause(), Cause::OutOfMemory { limit, .. } if *limit == 64 << 20),
            "{script}: {broken}"
        );
    }
    for script in ["def f: 1 + f; f", "def f: [f]; f"] {
        // A guest has two stacks, and a compiler's choice is what of a frame lies in which: that in its own memory
        // ends where the memory begins.
        let broken = broken(script).await;
        assert!(
            matches!(
                broken.cause(),
                Cause::StackOverflow | Cause::Trap(Trap::MemoryOutOfBounds)
            ),
            "{script}: {broken}"
        );
    }
    others.await.unwrap();
}

#[tokio::test]
async fn results_without_end_are_taken_one_by_one() {
    let host = host_of(guest::script()).workers(1).build().await.unwrap();
    let mut items: Items<_, String> = host.stream("each", ("range(infinite)", "null"));
    for expected in 0..20 {
        let item = items.next().await.unwrap().unwrap();
        assert_eq!(item, expected.to_string());
    }
    drop(items);
    let count: Result<u64, ScriptError> = host.run_sync("each", (".[]", "[1,2,3]")).await.unwrap();
    assert_eq!(count, Ok(3));
}

#[tokio::test]
async fn a_script_sees_nothing_of_the_server() {
    let host = host_of(guest::script()).build().await.unwrap();
    assert_eq!(results(&host, "env", "null").await, [json!({})]);
    for script in ["import \"a\" as a; 1", "include \"/etc/passwd\"; 1"] {
        let outcome = run(&host, script, "1").await.unwrap();
        let Err(ScriptError::Script { reason, .. }) = outcome else {
            panic!("{script}: {outcome:?}")
        };
        assert!(reason.contains("module"), "{reason}");
    }
}
