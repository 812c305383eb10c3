//! What a host sees of its workers' walls.

use stockade::{Error, Hardening, Wall, WallState};
use stockade_tests::{guest, host_of};

use crate::hosts::{hostile, outcome, probe};

const SEEN: [Wall; 6] = [
    Wall::NoNewPrivileges,
    Wall::SystemCallFilter,
    Wall::NoCapabilities,
    Wall::ResourceLimits,
    Wall::NotDumpable,
    Wall::OneThread,
];

#[tokio::test]
async fn the_walls_that_the_kernel_shows_are_verified_and_the_others_are_not() {
    for hardening in [Hardening::Default, Hardening::Strict] {
        let host = probe().0.hardening(hardening).build().await.unwrap();
        let walls = host.walls();
        assert_eq!(walls.hardening, hardening);
        for wall in SEEN {
            assert_eq!(walls.state(wall), Some(&WallState::Verified), "{wall}");
        }
        for wall in [Wall::Environment, Wall::DeathString, Wall::ResetProof] {
            assert_eq!(walls.state(wall), Some(&WallState::Claimed), "{wall}");
        }
        for report in &walls.walls {
            let missing = matches!(report.state, WallState::Missing { .. });
            assert!(!(report.required && missing), "{report:?}");
        }
        let n: u64 = outcome(host.run_sync("echo_u64", (5u64,))).await.unwrap();
        assert_eq!(n, 5);
    }
}

#[tokio::test]
async fn without_hardening_no_wall_is_said_to_stand() {
    let host = host_of(guest::probe())
        .hardening(Hardening::Insecure)
        .build()
        .await
        .unwrap();
    let walls = host.walls();
    for wall in [
        Wall::NoNewPrivileges,
        Wall::SystemCallFilter,
        Wall::Landlock,
        Wall::ResetProof,
    ] {
        let state = walls.state(wall).unwrap();
        assert!(
            matches!(state, WallState::Missing { .. }),
            "{wall}: {state:?}"
        );
    }
    assert!(walls.walls.iter().all(|report| !report.required));
}

/// A program that says that it is ready, and has built nothing.
#[tokio::test]
async fn a_worker_that_claims_walls_that_the_kernel_does_not_show_is_refused_by_name() {
    let error = hostile("honest")
        .hardening(Hardening::Default)
        .build()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
    let said = error.to_string();
    assert!(
        said.contains("the wall `no new privileges` does not stand"),
        "{said}"
    );
}
