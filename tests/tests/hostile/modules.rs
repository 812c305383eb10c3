//! Modules as text, from their hostile part.

/// A module that can do everything: all imports, a memory, and a call that every module answers.
pub(crate) fn module(hostile: &str) -> String {
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
        (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open" (func $path_open
            (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_accept" (func $sock_accept (param i32 i32 i32) (result i32)))
        (import "stockade" "panic" (func $panic (param i32 i32)))
        (import "stockade" "log" (func $log (param i32 i32 i32)))
        (import "stockade" "progress" (func $progress (param i64 i64)))
        (import "stockade" "emit" (func $emit (param i32 i32)))
        (import "stockade" "call" (func $call (param i32 i32 i32 i32) (result i64)))
        {MEMORY_OR_NONE}
        (func (export "innocent") (result i64) (i64.const 42))
        {hostile})"#,
        MEMORY_OR_NONE = match hostile.contains("(memory (export") {
            true => "",
            false => r#"(memory (export "memory") 2)"#,
        }
    )
}

/// A body that never returns, as the numeric export `attack`.
pub(crate) fn attack(body: &str) -> String {
    module(&format!(
        r#"(func (export "attack") (result i64) {body} (i64.const 0))"#
    ))
}

/// A body that leaves a number, as the numeric export `attack`.
pub(crate) fn number(body: &str) -> String {
    module(&format!(r#"(func (export "attack") (result i64) {body})"#))
}

/// A work function whose result is that of `body`, with an allocator that has room for anything short.
pub(crate) fn work(body: &str) -> String {
    with_alloc("(i32.const 1024)", body)
}

/// The same, with an allocator of its own.
pub(crate) fn with_alloc(alloc: &str, body: &str) -> String {
    module(&format!(
        r#"(func (export "stockade_alloc") (param i32) (result i32) {alloc})
        (func (export "stockade_free") (param i32 i32))
        (func (export "stockade:attack") (param i32 i32) (result i64) {body})"#
    ))
}

/// A work function that replies with these bytes.
pub(crate) fn replies(bytes: &[u8]) -> String {
    let data: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let result = (4096u64 << 32) | bytes.len() as u64;
    let body = format!("(i64.const {result})");
    let mut text = with_alloc("(i32.const 1024)", &body);
    text.truncate(text.len() - 1);
    text + &format!(r#"(data (i32.const 4096) "{data}"))"#)
}
