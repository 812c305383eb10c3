//! What escaped code can reach: the matrix of attacks and walls, in `as_root.txt` and `as_user.txt`, and that of
//! processes of other kinds, in `roles_as_root.txt` and `roles_as_user.txt`.
//!
//! The program `escape` makes every attack; here is what must become of it. A wall that this machine does not
//! have fails these tests, and so does a user who cannot become another one: run them as root, on Linux 6.12 or
//! later.
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod matrix;
mod threats;

use std::collections::BTreeSet;

use matrix::{Allocator, Matrix, Runner, Table};

const NONE: &str = "none";
const WORKED: &str = ".";
const EVERYTHING: [&str; 3] = ["worker", "later-worker", "compiler"];

/// Attacks that an ordinary user cannot make, walls or no walls. That they are attacks is seen as root.
const NEEDS_ROOT: [&str; 5] = [
    "become-root",
    "open-raw-socket",
    "bpf",
    "new-network-namespace",
    "fanotify",
];

/// Every matrix.
fn all() -> impl Iterator<Item = (Table, Runner)> {
    let tables = [Table::Walls, Table::Roles];
    tables
        .into_iter()
        .flat_map(|table| Runner::ALL.map(|runner| (table, runner)))
}

#[test]
fn without_walls_every_attack_succeeds() {
    for (table, runner) in all() {
        let tried = Matrix::tried(table, runner);
        for attack in tried.attacks() {
            let alone = tried.cell(attack, NONE);
            let expected = match runner {
                Runner::User if NEEDS_ROOT.contains(&attack) => "EPERM",
                _ => WORKED,
            };
            assert_eq!(alone, expected, "{attack} {runner}: it proves nothing");
        }
    }
}

#[test]
fn behind_all_walls_no_attack_succeeds() {
    for runner in Runner::ALL {
        let tried = Matrix::tried(Table::Walls, runner);
        assert!(tried.attacks().count() >= 30);
        for attack in tried.attacks() {
            for everything in EVERYTHING {
                let end = tried.cell(attack, everything);
                assert_ne!(end, WORKED, "{attack} in a {everything} {runner}");
            }
        }
    }
}

/// What processes may do to which something is admitted.
const ADMITTED: [(&str, &[&str]); 4] = [
    ("initializer", &[]),
    // No wall of this kind can tell one path from another here: a guest that has escaped sees that a file exists, and
    // its length, time and owner.
    ("granted", &["see-outside", "see-link-outside"]),
    (
        "fork-server",
        &[
            // What it is there for.
            "fork",
            // The descriptors of workers come on its socket, in orders.
            "receive-descriptor",
            // What it hands over; to signal by it, or to take something, it may not.
            "open-pidfd-of-host",
            // Its workers' own, on itself.
            "new-filter",
        ],
    ),
    ("forked", &[]),
];

/// The kernel counts the processes of a user, who has others where it is not the server's own.
const ADMITTED_TO_USERS_FORK_SERVER: [&str; 1] = ["hundred-processes"];

#[test]
fn what_is_admitted_to_a_role_and_no_more_works_behind_its_walls() {
    for runner in Runner::ALL {
        let tried = Matrix::tried(Table::Roles, runner);
        assert!(tried.attacks().count() >= 100);
        for (role, admitted) in ADMITTED {
            for attack in tried.attacks() {
                let admitted = admitted.contains(&attack)
                    || role == "fork-server"
                        && runner == Runner::User
                        && ADMITTED_TO_USERS_FORK_SERVER.contains(&attack);
                let end = tried.cell(attack, role);
                assert_eq!(
                    end == WORKED,
                    admitted,
                    "{attack} in {role} {runner}: {end}"
                );
            }
        }
    }
}

#[test]
fn each_wall_alone_holds_what_it_is_said_to_hold() {
    for (table, runner) in all() {
        holds_what_it_is_said_to_hold(Matrix::tried(table, runner), table, runner);
    }
}

/// An application's allocator is its workers', too.
#[test]
fn each_wall_holds_the_same_on_other_allocators() {
    for allocator in [Allocator::Jemalloc, Allocator::Mimalloc] {
        for (table, runner) in all() {
            let tried = Matrix::tried_on(allocator, table, runner);
            holds_what_it_is_said_to_hold(&tried, table, runner);
        }
    }
}

#[track_caller]
fn holds_what_it_is_said_to_hold(tried: &Matrix, table: Table, runner: Runner) {
    let expected = Matrix::expected(table, runner);
    assert!(tried.attacks().eq(expected.attacks()), "other attacks");
    assert!(tried.walls().eq(expected.walls()), "other walls");
    let mut wrong = Vec::new();
    for attack in expected.attacks() {
        for wall in expected.walls() {
            let (is, said) = (tried.cell(attack, wall), expected.cell(attack, wall));
            // Where no wall is said to hold it, a newer kernel's may. Some refuse in another way.
            if said != WORKED && !said.split('|').any(|said| is == said) {
                wrong.push(format!("{attack} {wall}: {is}, not {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{runner}:\n{}", wrong.join("\n"));
}

#[test]
fn every_wall_alone_holds_something() {
    for wall in Matrix::expected(Table::Walls, Runner::Root).walls() {
        let holds = |runner| {
            let expected = Matrix::expected(Table::Walls, runner);
            let mut attacks = expected.attacks();
            attacks.any(|attack| {
                expected.cell(attack, NONE) == WORKED && expected.cell(attack, wall) != WORKED
            })
        };
        assert!(wall == NONE || Runner::ALL.into_iter().any(holds), "{wall}");
    }
}

/// What has no second wall, whoever runs the host: the loss of that wall would be the loss of all.
const ONE_WALL: [(&str, &[&str]); 4] = [
    ("environment", &["read-own-environment"]),
    ("death", &["outlive-host"]),
    (
        "rlimits",
        &[
            "eight-gigabytes-of-memory",
            "eight-gigabytes-hidden",
            "a-terabyte-to-read",
        ],
    ),
    (
        "filter",
        &[
            "clear-death-signal",
            "become-dumpable",
            "leave-session",
            "executable-slot",
            "executable-shared-segment",
            "shared-segment",
            "punch-reply",
            "discard-reply",
            "keyring",
            "change-root",
            "new-filter",
            "learn-host-name",
            "signal-handler",
        ],
    ),
];

#[test]
fn what_only_one_wall_holds_is_known() {
    let known = ONE_WALL
        .iter()
        .flat_map(|(wall, attacks)| attacks.iter().map(move |attack| (*attack, *wall)))
        .collect::<BTreeSet<_>>();
    let expected = Runner::ALL.map(|runner| Matrix::expected(Table::Walls, runner));
    let [root, user] = &expected;
    let held_by = |attack| {
        // To enter namespaces is no other wall than to make them.
        let walls = root.walls();
        let walls = walls.filter(|wall| *wall != "entered" && !EVERYTHING.contains(wall));
        let held = walls.filter(|wall| expected.iter().any(|one| one.cell(attack, wall) != WORKED));
        held.collect::<Vec<_>>()
    };
    let mut single = BTreeSet::new();
    for attack in root
        .attacks()
        .filter(|attack| user.cell(attack, NONE) == WORKED)
    {
        if let [wall] = held_by(attack)[..] {
            single.insert((attack, wall));
        }
    }
    assert_eq!(single, known);
}
