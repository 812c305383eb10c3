//! Calls that end as calls should, and bad input that is refused: modules, settings, caches, payloads.
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod abi;
mod archives;
mod bad_modules;
mod cache;
mod chunks;
mod claims;
mod commands;
mod echoes;
mod events;
mod expected;
mod files;
mod followed;
mod foreign;
mod forms;
mod host_requests;
mod init;
mod languages;
mod limits;
mod maps;
mod names;
mod numbers;
mod pages;
mod parity;
mod payloads;
mod programs;
mod repository;
mod runtimes;
mod scripts;
mod searches;
mod settings;
mod state;
mod vectors;
mod waiting;
mod wasi;
mod workloads;
