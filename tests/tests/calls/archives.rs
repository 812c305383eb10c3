//! Archives that somebody else made: bombs, lies, and names that lead out.

use std::fs;
use std::path::{Component, Path};

use serde::Deserialize;
use stockade::{Bytes, Cause, Error, Host, Limits};
use stockade_tests::{guest, host_of};

fn file(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn archive(name: &str) -> Bytes {
    file(&format!("archives/{name}.zip")).into()
}

#[derive(Debug, Deserialize)]
struct Entry {
    name: String,
    path: Option<String>,
    kind: Kind,
    packed: u64,
    claimed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Kind {
    File,
    Directory,
    Link,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
enum ArchiveError {
    Damaged(String),
    Unsupported(String),
    NoSuchEntry,
    NoSafeFile,
    TooLarge { limit: u64 },
}

async fn list(host: &Host, archive: &Bytes) -> Result<Vec<Entry>, ArchiveError> {
    host.run_sync("list", (archive.clone(),)).await.unwrap()
}

type Extracted = Result<Bytes, ArchiveError>;

async fn extract(host: &Host, archive: &Bytes, name: &str, bytes_max: u64) -> Extracted {
    let args = (archive.clone(), name, bytes_max);
    host.run_sync("extract", args).await.unwrap()
}

async fn host() -> Host {
    host_of(guest::archive()).build().await.unwrap()
}

#[tokio::test]
async fn what_was_packed_is_what_is_unpacked() {
    let (host, good) = (host().await, archive("good"));
    let entries = list(&host, &good).await.unwrap();
    assert_eq!(entries.len(), 6);
    assert_eq!(entries[0].kind, Kind::Directory);
    for entry in &entries[1..] {
        assert_eq!(entry.kind, Kind::File);
        assert_eq!(entry.path.as_deref(), Some(entry.name.as_str()));
        let bytes = extract(&host, &good, &entry.name, 1 << 20).await.unwrap();
        assert_eq!(bytes.len() as u64, entry.claimed);
        if let Some(image) = entry.name.strip_prefix("images/") {
            assert!(*bytes == *file(&format!("images/{image}")), "{image}");
        }
    }
    let error = extract(&host, &good, "nosuch", 10).await.unwrap_err();
    assert_eq!(error, ArchiveError::NoSuchEntry);
}

#[tokio::test]
async fn bombs_are_counted_as_they_unpack() {
    let host = host().await;
    for (name, entry) in [("flat", "zeros"), ("overlap", "0"), ("overlap", "999")] {
        let bomb = archive(name);
        let listed = list(&host, &bomb).await.unwrap();
        let claimed: u64 = listed.iter().map(|entry| entry.claimed).sum();
        assert!(claimed > bomb.len() as u64 * 1000);
        assert!(listed.iter().all(|entry| entry.packed < 300 << 10));
        for limit in [0, 1, 1 << 20] {
            let error = extract(&host, &bomb, entry, limit).await.unwrap_err();
            assert_eq!(error, ArchiveError::TooLarge { limit }, "{name}");
        }
    }
}

#[tokio::test]
async fn a_bomb_that_nobody_counts_meets_the_limits_of_its_call() {
    let limits = Limits {
        memory_bytes: 32 << 20,
        ..Limits::default()
    };
    let host = host_of(guest::archive())
        .workers(1)
        .limits(limits)
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    let args = (archive("flat"), "zeros", u64::MAX);
    match host.run_sync::<_, _, Extracted>("extract", args).await {
        Err(Error::BrokenWorker(broken)) => {
            assert!(
                matches!(broken.cause(), Cause::OutOfMemory { .. }),
                "{broken}"
            );
        }
        // A library may ask whether it gets the memory.
        Ok(Err(ArchiveError::Damaged(reason))) => assert!(reason.contains("memory"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(list(&host, &archive("good")).await.unwrap().len(), 6);
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn no_name_leads_out_of_the_directory_that_a_server_unpacks_into() {
    let (host, tricks) = (host().await, archive("names"));
    let entries = list(&host, &tricks).await.unwrap();
    let (mut inside, mut outside) = (0, 0);
    for entry in &entries {
        let unpacked = extract(&host, &tricks, &entry.name, 100).await;
        let Some(path) = &entry.path else {
            outside += 1;
            assert_eq!(unpacked, Err(ArchiveError::NoSafeFile), "{entry:?}");
            continue;
        };
        let is_name = |part| matches!(part, Component::Normal(_));
        assert!(
            !path.is_empty() && Path::new(path).components().all(is_name),
            "{entry:?}"
        );
        assert!(!path.contains('\0') && !path.contains('\\'), "{entry:?}");
        match entry.kind {
            Kind::File => {
                inside += 1;
                assert!(unpacked.is_ok(), "{entry:?}: {unpacked:?}");
            }
            _ => assert_eq!(unpacked, Err(ArchiveError::NoSafeFile), "{entry:?}"),
        }
    }
    let links = entries.iter().filter(|entry| entry.kind == Kind::Link);
    assert_eq!(links.count(), 1);
    assert!(inside >= 6 && outside >= 5, "{inside} and {outside}");
}

#[tokio::test]
async fn lies_are_found_out() {
    let (host, lies) = (host().await, archive("lies"));
    assert_eq!(list(&host, &lies).await.unwrap()[0].claimed, 0xFFFF_FFF0);
    // What is there counts, not what was claimed.
    let unpacked = extract(&host, &lies, "claims much", 100).await.unwrap();
    assert_eq!(&*unpacked, b"ten bytes\n");
    for name in ["wrong sum", "bad stream"] {
        let unpacked = extract(&host, &lies, name, 100).await;
        assert!(
            matches!(unpacked, Err(ArchiveError::Damaged(_))),
            "{name}: {unpacked:?}"
        );
    }
    let unpacked = extract(&host, &lies, "claims little", 100).await;
    assert!(unpacked.is_err(), "a megabyte is not ten bytes");
    let count = list(&host, &archive("count")).await;
    assert!(matches!(count, Err(ArchiveError::Damaged(_))), "{count:?}");
    for name in ["squeezed", "locked"] {
        let unpacked = extract(&host, &archive("others"), name, 10_000).await;
        assert!(
            matches!(unpacked, Err(ArchiveError::Unsupported(_))),
            "{name}: {unpacked:?}"
        );
    }
}

#[tokio::test]
async fn damaged_archives_are_refused_wherever_the_damage_is() {
    /// Prime, so that cuts and changes fall everywhere in the records.
    const STEP: usize = 89;
    let (host, good) = (host().await, archive("good"));
    let cuts = (0..good.len()).step_by(STEP);
    let mut listed = host.map::<_, _, Result<Vec<Entry>, ArchiveError>, _>(
        "list",
        cuts.map(|length| (Bytes::from(&good[..length]),)),
    );
    while let Some(list) = listed.next().await {
        let list = list.unwrap();
        assert!(matches!(list, Err(ArchiveError::Damaged(_))), "{list:?}");
    }

    // The directory, which says where everything is, has every one of its bytes changed.
    let directory = good.len() - 600..good.len();
    let changed = directory.map(|at| {
        let mut bytes = good.to_vec();
        bytes[at] ^= 0xFF;
        (Bytes::from(bytes), "tables/squares.txt", 200_000u64)
    });
    let table = extract(&host, &good, "tables/squares.txt", 200_000)
        .await
        .unwrap();
    let mut unpacked = host.map::<_, _, Extracted, _>("extract", changed);
    while let Some(result) = unpacked.next().await {
        // What is unpacked in spite of the change has the right sum.
        if let Ok(bytes) = result.unwrap() {
            assert!(bytes == table);
        }
    }
}
