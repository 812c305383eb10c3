//! The guests that the README and the guides show: they are what `guests/` has, and do what the pages say.

use std::fs;
use std::path::{Path, PathBuf};

use guides::part::Part;
use stockade::{Error, Host, Retire, State};
use stockade_tests::{BOUND, eventually_async, guest, host_of};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

/// The pieces of Rust on a page.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    page.split("\n```rust").skip(1).map(|rest| {
        let (_, code) = rest.split_once('\n').unwrap();
        code.split_once("\n```").unwrap().0
    })
}

#[test]
fn every_guest_on_a_page_is_one_that_is_built() {
    let mut sources = files(&root().join("guests/guides/src"), "rs");
    sources.push(root().join("guests/hello/src/lib.rs"));
    let sources: Vec<_> = sources
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut pages = files(&root().join("docs"), "md");
    pages.push(root().join("README.md"));
    let mut count = 0;
    for path in pages {
        let page = fs::read_to_string(&path).unwrap();
        for block in blocks(&page).filter(|block| block.contains("stockade_guest::")) {
            count += 1;
            assert!(
                sources.iter().any(|source| source.contains(block)),
                "{} shows what no guest has:\n{block}",
                path.display()
            );
        }
    }
    assert_eq!(count, 7);
}

async fn host() -> Host {
    let host = host_of(guest::guides()).state(State::Keep).workers(1);
    host.function("price_of", async |article: String| {
        (article == "tea").then_some(250u64)
    })
    .build()
    .await
    .unwrap()
}

#[tokio::test]
async fn words_are_counted_and_files_are_cut() {
    let host = host().await;
    let call = host.run_sync(guides::count::count, ("a b a", "a"));
    assert_eq!(call.await.unwrap(), 2);
    let part = async |start, length| {
        let call = host.run_sync(guides::part::part, (&b"012345"[..], start, length));
        call.await.unwrap()
    };
    let Part { start, bytes } = part(2, 3).await.unwrap();
    assert_eq!((start, &bytes[..]), (2, &b"234"[..]));
    for (start, length) in [(2, 5), (u32::MAX as usize, 1)] {
        let Err(error) = part(start, length).await else {
            panic!("there is no such part")
        };
        assert!(!error.is_empty());
    }
}

#[tokio::test]
async fn prices_are_asked_for_and_emitted() {
    let host = host().await;
    let articles = ["tea", "coffee", "tea"].map(str::to_owned).to_vec();
    let mut items = host.stream::<_, _, (String, u64)>(guides::prices::prices, (articles,));
    let mut prices = Vec::new();
    while let Some(item) = items.next().await {
        prices.push(item.unwrap());
    }
    assert_eq!(prices, [("tea".to_owned(), 250), ("tea".to_owned(), 250)]);
    assert_eq!(items.result::<u32>().unwrap().unwrap(), 2);
}

#[tokio::test]
async fn a_table_is_prepared_once_and_a_cache_is_kept() {
    for state in [State::Fresh, State::Keep] {
        let host = host_of(guest::guides()).state(state).build().await.unwrap();
        for _ in 0..2 {
            let prime = host.run_sync(guides::primes::prime, (9591,));
            assert_eq!(prime.await.unwrap(), Some(99_991));
            let triangle = host.run_sync(guides::known::triangle, (100,));
            assert_eq!(triangle.await.unwrap(), 5050);
        }
    }
    let found = host_of(guest::guides()).inspect().await.unwrap();
    assert_eq!(found.init, Some(stockade::Init::Snapshot));
}

#[tokio::test]
async fn a_guest_that_knows_too_much_makes_way() {
    let host = host_of(guest::guides())
        .state(State::Keep)
        .retire(Retire::never())
        .workers(1)
        .build()
        .await
        .unwrap();
    let first = host.stats().workers[0].pid;
    let news = async |text: &str| host.run_sync(guides::news::news, (text,)).await.unwrap();
    assert_eq!(news("one two one").await, ["one", "two"]);
    assert!(news("two one").await.is_empty());
    let many: String = (0..1001).map(|n| format!("{n} ")).collect();
    assert_eq!(news(&many).await.len(), 1001);
    eventually_async(BOUND, || {
        let workers = host.stats().workers;
        workers.len() == 1 && workers[0].pid != first
    })
    .await;
    assert_eq!(news("one two one").await, ["one", "two"]);
}

#[tokio::test]
async fn another_version_of_other_types_is_refused_and_the_first_serves_on() {
    let host = host_of(guest::guides())
        .expects(guides::primes::prime)
        .expects::<_, (&str,), Vec<String>>("news")
        .build()
        .await
        .unwrap();
    let error = host.reload(guest::hello()).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchFunction { .. }), "{error}");
    let prime = host.run_sync(guides::primes::prime, (0,));
    assert_eq!(prime.await.unwrap(), Some(2));
}
