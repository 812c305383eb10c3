//! The matrix as text: columns are walls, rows are attacks, a cell is how the attack ended.

use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::LazyLock;

use stockade_tests::Scratch;

/// Who runs the host that is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    Root,
    User,
}

impl Runner {
    pub(crate) const ALL: [Self; 2] = [Self::Root, Self::User];

    /// A user that owns nothing, or root.
    fn uid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::User => 65_533,
        }
    }
}

impl fmt::Display for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "as root",
            Self::User => "as an ordinary user",
        })
    }
}

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Each wall alone, and all of them.
    Walls,
    /// Processes of other kinds, to some of which more is admitted.
    Roles,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Walls => "walls",
            Self::Roles => "roles",
        }
    }
}

/// On what allocator the programs run that are attacked from within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocator {
    System,
    Jemalloc,
    Mimalloc,
}

impl Allocator {
    fn program(self) -> &'static str {
        match self {
            Self::System => env!("CARGO_BIN_EXE_escape"),
            Self::Jemalloc => env!("CARGO_BIN_EXE_escape_with_jemalloc"),
            Self::Mimalloc => env!("CARGO_BIN_EXE_escape_with_mimalloc"),
        }
    }
}

/// A table.
#[derive(Debug)]
pub(crate) struct Matrix {
    walls: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Matrix {
    /// What happens on this machine; every attack is made once.
    pub(crate) fn tried(table: Table, runner: Runner) -> &'static Self {
        static ALL: [[LazyLock<Matrix>; 2]; 2] = [
            [
                LazyLock::new(|| attack(Table::Walls, Runner::Root, Allocator::System)),
                LazyLock::new(|| attack(Table::Walls, Runner::User, Allocator::System)),
            ],
            [
                LazyLock::new(|| attack(Table::Roles, Runner::Root, Allocator::System)),
                LazyLock::new(|| attack(Table::Roles, Runner::User, Allocator::System)),
            ],
        ];
        &ALL[table as usize][runner as usize]
    }

    /// The same, once more, in a program on this allocator.
    pub(crate) fn tried_on(allocator: Allocator, table: Table, runner: Runner) -> Self {
        attack(table, runner, allocator)
    }

    /// What must happen.
    pub(crate) fn expected(table: Table, runner: Runner) -> Self {
        Self::read(match (table, runner) {
            (Table::Walls, Runner::Root) => include_str!("as_root.txt"),
            (Table::Walls, Runner::User) => include_str!("as_user.txt"),
            (Table::Roles, Runner::Root) => include_str!("roles_as_root.txt"),
            (Table::Roles, Runner::User) => include_str!("roles_as_user.txt"),
        })
    }

    fn read(text: &str) -> Self {
        let mut lines = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(str::to_owned));
        let walls = lines.next().expect("a line of names").skip(1).collect();
        let rows = lines
            .map(|mut words| (words.next().unwrap_or_default(), words.collect()))
            .collect();
        Self { walls, rows }
    }

    pub(crate) fn attacks(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|(attack, _)| attack.as_str())
    }

    pub(crate) fn walls(&self) -> impl Iterator<Item = &str> {
        self.walls.iter().map(String::as_str)
    }

    #[track_caller]
    pub(crate) fn cell(&self, attack: &str, wall: &str) -> &str {
        let column = self.walls.iter().position(|name| name == wall);
        let row = self.rows.iter().find(|(name, _)| name == attack);
        let cell = row.zip(column).and_then(|((_, cells), at)| cells.get(at));
        cell.unwrap_or_else(|| panic!("there is no cell for {attack} and {wall}"))
    }
}

fn attack(table: Table, runner: Runner, allocator: Allocator) -> Matrix {
    let scratch = Scratch::new();
    let (uid, dir) = (runner.uid(), scratch.path());
    let file = scratch.file("file", "for everybody");
    for path in [dir, &file] {
        chown(path, Some(uid), Some(uid)).expect("the tests of the walls run as root");
    }
    let allow = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(dir, 0o755);
    allow(&scratch.file("root-only", "for root"), 0o600);
    let program = scratch.join("setuid-test");
    fs::copy("/usr/bin/test", &program).unwrap();
    allow(&program, 0o4755);
    let output = Command::new(allocator.program())
        .arg(table.name())
        .arg(dir)
        .env("STOCKADE_ESCAPE_SECRET", "of the host")
        .uid(uid)
        .gid(uid)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} {runner}: {}\n{said}",
        table.name(),
        output.status
    );
    Matrix::read(&String::from_utf8(output.stdout).unwrap())
}
