//! The corpus of hostile guests.

use std::time::Duration;

use stockade::{Host, HostBuilder, Interrupt, Limits, Module, State, Trap};
use stockade_tests::{BOUND, alone, census, eventually, guest, host_of, wait_for};

use crate::ends::Ends::{self, *};
use crate::modules::{attack, module, number, replies, with_alloc, work};

/// One guest.
struct Guest {
    name: &'static str,
    text: String,
    ends: Ends,
}

fn guest_of(name: &'static str, text: String, ends: Ends) -> Guest {
    Guest { name, text, ends }
}

/// What none of them may exceed by much in the host.
const HOST_GROWS_BY_AT_MOST: u64 = 24 << 20;

/// Enough for everything that ends by itself here.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Long enough for a guest to begin, short enough for a table of those that never end.
const SHORT: Duration = Duration::from_millis(60);

fn limits() -> Limits {
    Limits {
        memory_bytes: 64 << 20,
        payload_bytes: 1 << 20,
        ..Limits::default()
    }
}

/// A poll for one clock, `timeout` nanoseconds from now: the subscription at 0, the event at 64.
fn poll(timeout: u64) -> String {
    format!(
        "(i32.store (i32.const 16) (i32.const 1)) (i64.store (i32.const 24) (i64.const {timeout}))
        (drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))"
    )
}

fn forever(body: &str) -> String {
    attack(&format!("(loop $l {body} (br $l))"))
}

/// Those that never end by themselves.
fn endless() -> Vec<Guest> {
    let mut guests = vec![
        guest_of("spin", forever(""), TimesOut),
        guest_of(
            "tail-calls-without-end",
            module(
                r#"(func $a (result i64) (return_call $b)) (func $b (result i64) (return_call $a))
                (export "attack" (func $a))"#,
            ),
            TimesOut,
        ),
        guest_of(
            "fill-memory-for-ever",
            module(
                r#"(memory (export "memory") 1000) (func (export "attack") (result i64)
                (loop $l (memory.fill (i32.const 0) (i32.const 7) (i32.const 65000000)) (br $l))
                (i64.const 0))"#,
            ),
            TimesOut,
        ),
        guest_of(
            "copy-memory-for-ever",
            module(
                r#"(memory (export "memory") 1000) (func (export "attack") (result i64)
                (loop $l (memory.copy (i32.const 0) (i32.const 1) (i32.const 65000000)) (br $l))
                (i64.const 0))"#,
            ),
            TimesOut,
        ),
        guest_of(
            "fill-a-table-for-ever",
            module(
                r#"(table $t 10000 funcref) (func (export "attack") (result i64)
                (loop $l (table.fill $t (i32.const 0) (ref.null func) (i32.const 10000)) (br $l))
                (i64.const 0))"#,
            ),
            TimesOut,
        ),
        guest_of("sleep-for-ever", attack(&poll(u64::MAX)), TimesOut),
        guest_of("poll-for-ever", forever(&poll(0)), TimesOut),
        guest_of("yield-for-ever", forever("(drop (call $sched_yield))"), TimesOut),
        guest_of(
            "read-the-clock-for-ever",
            forever("(drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 0)))"),
            TimesOut,
        ),
        guest_of(
            "draw-randomness-for-ever",
            forever("(drop (call $random_get (i32.const 0) (i32.const 131072)))"),
            TimesOut,
        ),
        guest_of(
            "print-for-ever",
            forever(
                "(i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 131072))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))",
            ),
            TimesOut,
        ),
        guest_of(
            "print-a-million-pieces-for-ever",
            forever("(drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1000000) (i32.const 8)))"),
            TimesOut,
        ),
        guest_of(
            "panic-for-ever",
            forever("(call $panic (i32.const 0) (i32.const 131072))"),
            TimesOut,
        ),
        guest_of(
            "log-for-ever",
            forever("(call $log (i32.const 3) (i32.const 0) (i32.const 1000))"),
            TimesOut,
        ),
        guest_of(
            "emit-to-nobody-for-ever",
            forever("(call $emit (i32.const 0) (i32.const 1000))"),
            TimesOut,
        ),
        guest_of(
            "call-the-host-for-ever",
            with_alloc(
                "(i32.const 1024)",
                "(loop $l (drop (call $call (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1))) (br $l)) (i64.const 0)",
            ),
            TimesOut,
        ),
        guest_of(
            "ask-for-memory-for-ever",
            forever("(drop (memory.grow (i32.const 65536)))"),
            TimesOut,
        ),
        guest_of(
            "spin-where-arguments-are-to-go",
            with_alloc("(loop $l (br $l)) (i32.const 0)", "(i64.const 0)"),
            TimesOut,
        ),
        guest_of("spin-in-a-work-function", work("(loop $l (br $l)) (i64.const 0)"), TimesOut),
    ];
    let cases: String = (0..5000).map(|n| format!(" {}", n % 2)).collect();
    guests.push(guest_of(
        "jump-through-a-huge-table-for-ever",
        attack(&format!(
            "(loop $l (block $out (block (br_table {cases} (i32.const 3))) (br $l)) (br $l))"
        )),
        TimesOut,
    ));
    guests
}

fn memory() -> Vec<Guest> {
    vec![
        guest_of(
            "grow-memory-until-there-is-none",
            attack("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable"),
            OutOfMemory,
        ),
        guest_of(
            "grow-memory-and-touch-it",
            number(
                "(loop $l
                    (i32.store8 (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1)) (i32.const 1))
                    (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
                (i64.extend_i32_u (memory.size))",
            ),
            Returns(1024),
        ),
        guest_of(
            "ask-for-all-memory-at-once",
            number("(i64.extend_i32_s (memory.grow (i32.const 65534)))"),
            Returns(-1),
        ),
        guest_of(
            "ask-for-more-pages-than-there-are",
            number("(i64.extend_i32_s (memory.grow (i32.const -1)))"),
            Returns(-1),
        ),
        guest_of(
            "grow-a-table-until-it-cannot",
            module(
                r#"(table $t 1 funcref) (func (export "attack") (result i64)
                (loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1))))
                (i64.extend_i32_u (table.size $t)))"#,
            ),
            Returns(19_901),
        ),
        guest_of(
            "begin-with-more-memory-than-allowed",
            module(r#"(memory (export "memory") 65536)"#),
            NeverStarts("memory"),
        ),
        guest_of(
            "begin-with-more-table-than-allowed",
            module("(table 9000000 funcref)"),
            NeverStarts("table"),
        ),
        guest_of(
            "data-outside-memory",
            module(r#"(data (i32.const 131071) "xx")"#),
            NeverStarts("trapped"),
        ),
        guest_of(
            "data-at-the-end-of-the-world",
            module(r#"(data (i32.const -1) "x")"#),
            NeverStarts("trapped"),
        ),
    ]
}

fn stacks() -> Vec<Guest> {
    let locals: String = (0..4000).map(|_| " i64").collect();
    vec![
        guest_of(
            "recurse-without-end",
            module(r#"(func $f (export "attack") (result i64) (i64.add (call $f) (i64.const 1)))"#),
            StackOverflow,
        ),
        guest_of(
            "recurse-with-large-frames",
            module(&format!(
                r#"(func $f (export "attack") (result i64) (local{locals})
                (local.set 3999 (call $f)) (i64.add (local.get 3999) (local.get 0)))"#
            )),
            StackOverflow,
        ),
        guest_of(
            "recurse-through-a-table",
            module(
                r#"(type $t (func (result i64))) (table funcref (elem $f))
                (func $f (export "attack") (result i64)
                (i64.add (call_indirect (type $t) (i32.const 0)) (i64.const 1)))"#,
            ),
            StackOverflow,
        ),
        guest_of(
            "recurse-in-an-import's-way",
            module(
                r#"(func $f (export "attack") (result i64) (drop (call $sched_yield))
                (i64.add (call $f) (i64.const 1)))"#,
            ),
            StackOverflow,
        ),
        guest_of(
            "recurse-at-the-start",
            module(
                "(func $f (result i64) (i64.add (call $f) (i64.const 1))) (func $s (drop (call $f))) (start $s)",
            ),
            NeverStarts("stack"),
        ),
        guest_of(
            "trap-at-the-start",
            module("(func $s unreachable) (start $s)"),
            NeverStarts("trapped"),
        ),
        guest_of(
            "trap-when-initialized",
            module(r#"(func (export "_initialize") (i32.store (i32.const -1) (i32.const 0)))"#),
            NeverStarts("trapped"),
        ),
        guest_of(
            "exit-at-the-start",
            module("(func $s (call $proc_exit (i32.const 0))) (start $s)"),
            NeverStarts("exited with code 0"),
        ),
    ]
}

fn traps() -> Vec<Guest> {
    let trap = |name, body: &str, trap| guest_of(name, attack(body), Ends::Trap(trap));
    let mut guests = vec![
        trap("unreachable", "unreachable", Trap::Unreachable),
        trap(
            "divide-by-zero",
            "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
            Trap::IntegerDivisionByZero,
        ),
        trap(
            "overflow",
            "(drop (i64.div_s (i64.const -9223372036854775808) (i64.const -1)))",
            Trap::IntegerOverflow,
        ),
        trap(
            "no-number-as-integer",
            "(drop (i32.trunc_f32_s (f32.const nan)))",
            Trap::BadConversionToInteger,
        ),
        trap(
            "read-outside-memory",
            "(drop (i64.load (i32.const 131068)))",
            Trap::MemoryOutOfBounds,
        ),
        trap(
            "write-at-the-end-of-the-world",
            "(i64.store offset=4294967295 (i32.const -1) (i64.const 7))",
            Trap::MemoryOutOfBounds,
        ),
        trap(
            "read-a-vector-across-the-end",
            "(drop (v128.load (i32.const 131057)))",
            Trap::MemoryOutOfBounds,
        ),
        trap(
            "fill-outside-memory",
            "(memory.fill (i32.const 131071) (i32.const 0) (i32.const 2))",
            Trap::MemoryOutOfBounds,
        ),
        trap(
            "copy-around-the-end",
            "(memory.copy (i32.const -1) (i32.const 0) (i32.const -1))",
            Trap::MemoryOutOfBounds,
        ),
    ];
    let with_table = |body: &str| {
        module(&format!(
            r#"(type $t (func (result i32))) (table $t 2 funcref) (elem (i32.const 1) $g)
            (elem $dropped func $g) (data $gone "x")
            (func $g (param i64))
            (func (export "attack") (result i64) {body} (i64.const 0))"#
        ))
    };
    for (name, body, trap) in [
        (
            "call-outside-a-table",
            "(drop (call_indirect (type $t) (i32.const -1)))",
            Trap::TableOutOfBounds,
        ),
        (
            "call-nothing",
            "(drop (call_indirect (type $t) (i32.const 0)))",
            Trap::IndirectCallToNull,
        ),
        (
            "call-another-type",
            "(drop (call_indirect (type $t) (i32.const 1)))",
            Trap::BadSignature,
        ),
        (
            "use-dropped-elements",
            "(elem.drop $dropped) (table.init $dropped (i32.const 0) (i32.const 0) (i32.const 1))",
            Trap::TableOutOfBounds,
        ),
        (
            "use-dropped-data",
            "(data.drop $gone) (memory.init $gone (i32.const 0) (i32.const 0) (i32.const 1))",
            Trap::MemoryOutOfBounds,
        ),
    ] {
        guests.push(guest_of(name, with_table(body), Ends::Trap(trap)));
    }
    guests
}

fn abi() -> Vec<Guest> {
    let packed = |at: u32, len: u32| {
        let result = (u64::from(at) << 32) | u64::from(len);
        work(&format!("(i64.const {})", result.cast_signed()))
    };
    let with_tail = |at: u32, len: u32| {
        let words = [at.to_le_bytes(), len.to_le_bytes()];
        replies(&[&[4], words.as_flattened()].concat())
    };
    vec![
        guest_of(
            "reply-outside-memory",
            packed(0xffff_0000, 16),
            BreaksRules("outside the memory"),
        ),
        guest_of(
            "reply-that-wraps",
            packed(0xffff_fff0, 0x20),
            BreaksRules("outside the memory"),
        ),
        guest_of(
            "reply-of-4-gib",
            packed(1, u32::MAX),
            BreaksRules("outside the memory"),
        ),
        guest_of(
            "reply-across-the-end",
            packed(131_071, 2),
            BreaksRules("outside the memory"),
        ),
        guest_of("reply-of-nothing", packed(1024, 0), BreaksRules("empty")),
        guest_of("reply-from-nowhere", packed(0, 0), BreaksRules("empty")),
        guest_of(
            "reply-too-long",
            {
                let mut text = packed(0, 2 << 20);
                text = text.replace(
                    r#"(memory (export "memory") 2)"#,
                    r#"(memory (export "memory") 64)"#,
                );
                text
            },
            TooLarge,
        ),
        guest_of(
            "reply-of-unknown-status",
            replies(&[9, 1]),
            BreaksRules("unknown status 9"),
        ),
        guest_of(
            "reply-tail-outside-memory",
            with_tail(131_071, 2),
            BreaksRules("the tail of its reply"),
        ),
        guest_of(
            "reply-tail-that-wraps",
            with_tail(u32::MAX, u32::MAX),
            BreaksRules("the tail of its reply"),
        ),
        guest_of(
            "reply-tail-nowhere",
            replies(&[4, 0, 0, 0, 0, 1, 2, 3]),
            BreaksRules("too short to say where its tail is"),
        ),
        guest_of("reply-tail-of-everything", with_tail(0, 131_072), NoValue),
        guest_of("reply-tail-of-nothing", with_tail(0, 0), NoValue),
        guest_of("reply-without-value", replies(&[0]), NoValue),
        guest_of("reply-with-more", replies(&[0, 1, 2, 3]), NoValue),
        guest_of(
            "reply-message-of-control-characters",
            replies(b"\x01\x1b]0;owned\x07\n\r\x00"),
            NoArguments,
        ),
        guest_of(
            "reply-message-not-utf8",
            replies(b"\x01\xff\xfe\x80"),
            NoArguments,
        ),
        guest_of(
            "no-room-for-arguments",
            with_alloc("(i32.const 0)", "(i64.const 0)"),
            OutOfMemory,
        ),
        guest_of(
            "arguments-outside-memory",
            with_alloc("(i32.const -1)", "(i64.const 0)"),
            BreaksRules("stockade_alloc"),
        ),
        guest_of(
            "arguments-across-the-end",
            with_alloc("(i32.const 131072)", "(i64.const 0)"),
            BreaksRules("stockade_alloc"),
        ),
        guest_of(
            "trap-where-arguments-are-to-go",
            with_alloc("unreachable", "(i64.const 0)"),
            Ends::Trap(Trap::Unreachable),
        ),
        guest_of(
            "exit-where-arguments-are-to-go",
            with_alloc(
                "(call $proc_exit (i32.const 3)) unreachable",
                "(i64.const 0)",
            ),
            Exit(3),
        ),
        guest_of(
            "panic-of-control-characters",
            {
                let mut text = attack("(call $panic (i32.const 8192) (i32.const 24)) unreachable");
                text.truncate(text.len() - 1);
                text + r#"(data (i32.const 8192) "\1b[31m\07\0a\0dred\00\1b[2Jevil.rs\0a"))"#
            },
            Panics("\\u{1b}[31m"),
        ),
        guest_of(
            "panic-outside-memory",
            attack("(call $panic (i32.const -1) (i32.const -1)) unreachable"),
            Panics(""),
        ),
        guest_of(
            "panic-and-go-on",
            number("(call $panic (i32.const 0) (i32.const 8)) (i64.const 7)"),
            Returns(7),
        ),
    ]
}

/// What guests ask of the host while they work.
fn talk() -> Vec<Guest> {
    let outside = BreaksRules("outside the memory");
    vec![
        guest_of("log-from-outside-memory", attack("(call $log (i32.const 1) (i32.const -1) (i32.const 2))"), outside),
        guest_of("emit-from-outside-memory", attack("(call $emit (i32.const 131071) (i32.const 2))"), outside),
        guest_of(
            "call-a-name-outside-memory",
            attack("(drop (call $call (i32.const -1) (i32.const -1) (i32.const 0) (i32.const 0)))"),
            outside,
        ),
        guest_of(
            "call-with-arguments-outside-memory",
            attack("(drop (call $call (i32.const 0) (i32.const 1) (i32.const 0) (i32.const -1)))"),
            outside,
        ),
        guest_of(
            "call-the-host-without-an-allocator",
            attack("(drop (call $call (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1)))"),
            BreaksRules("stockade_alloc"),
        ),
        guest_of(
            "call-the-host-with-too-much",
            module(
                r#"(memory (export "memory") 64) (func (export "attack") (result i64)
                (call $call (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 4000000)))"#,
            ),
            TooLarge,
        ),
        guest_of(
            "put-the-hosts-answer-outside-memory",
            with_alloc(
                "(if (result i32) (i32.eq (local.get 0) (i32.const 1)) (then (i32.const 64)) (else (i32.const -1)))",
                "(call $call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
            ),
            outside,
        ),
        guest_of(
            "call-the-host-while-it-makes-room-for-an-answer",
            with_alloc(
                "(drop (call $call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) (i32.const 64)",
                "(i64.const 0)",
            ),
            StackOverflow,
        ),
        guest_of(
            "more-progress-than-work",
            number("(call $progress (i64.const -1) (i64.const 0)) (i64.const 3)"),
            Returns(3),
        ),
        guest_of(
            "log-control-characters",
            number(
                "(i32.store (i32.const 0) (i32.const 0x6d315b1b)) (call $log (i32.const 99) (i32.const 0) (i32.const 4))
                (i64.const 4)",
            ),
            Returns(4),
        ),
    ]
}

fn wasi() -> Vec<Guest> {
    let call = |name, call: &str, returns| {
        guest_of(
            name,
            number(&format!("(i64.extend_i32_s {call})")),
            Returns(returns),
        )
    };
    // The error numbers of preview 1.
    const BADF: i64 = 8;
    const FAULT: i64 = 21;
    const INVAL: i64 = 28;
    vec![
        guest_of("exit-with-zero", attack("(call $proc_exit (i32.const 0))"), Exit(0)),
        guest_of("exit-with-minus-one", attack("(call $proc_exit (i32.const -1))"), Exit(-1)),
        call("random-of-4-gib", "(call $random_get (i32.const 0) (i32.const -1))", FAULT),
        call(
            "write-from-outside-memory",
            "(block (result i32) (i32.store (i32.const 0) (i32.const -8)) (i32.store (i32.const 4) (i32.const 64))
                (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))",
            FAULT,
        ),
        call(
            "write-list-outside-memory",
            "(call $fd_write (i32.const 1) (i32.const -8) (i32.const 2) (i32.const 16))",
            FAULT,
        ),
        call(
            "write-count-outside-memory",
            "(call $fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const -2))",
            FAULT,
        ),
        call(
            "write-with-4-billion-pieces",
            "(call $fd_write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 8))",
            0,
        ),
        call(
            "write-overlapping-pieces",
            "(block (result i32)
                (i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 64))
                (i32.store (i32.const 8) (i32.const 4)) (i32.store (i32.const 12) (i32.const 64))
                (call $fd_write (i32.const 2) (i32.const 0) (i32.const 2) (i32.const 0)))",
            0,
        ),
        call(
            "write-to-a-descriptor-of-the-worker",
            "(call $fd_write (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 8))",
            BADF,
        ),
        call(
            "poll-4-billion-things",
            "(call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 0))",
            INVAL,
        ),
        call(
            "poll-outside-memory",
            "(call $poll_oneoff (i32.const -48) (i32.const 0) (i32.const 2) (i32.const 0))",
            FAULT,
        ),
        call(
            "arguments-to-nowhere",
            "(call $environ_sizes_get (i32.const -1) (i32.const -4))",
            FAULT,
        ),
        call(
            "open-a-file-in-no-directory",
            "(call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 0)
                (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 64))",
            BADF,
        ),
        call(
            "accept-on-a-descriptor",
            "(call $sock_accept (i32.const 0) (i32.const 0) (i32.const 0))",
            BADF,
        ),
        guest_of(
            "print-64-mib",
            number(
                "(local $n i32)
                (i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 131072))
                (loop $l
                    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $l (i32.lt_u (local.get $n) (i32.const 512))))
                (i64.const 1)",
            ),
            Returns(1),
        ),
    ]
}

fn corpus() -> Vec<Guest> {
    [
        endless(),
        memory(),
        stacks(),
        traps(),
        abi(),
        talk(),
        wasi(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn builder(guest: &Guest) -> HostBuilder {
    let grace = match guest.ends {
        // Bulk operations and a full pipe are bounded by the kill.
        TimesOut => Duration::from_millis(300),
        _ => BOUND,
    };
    host_of(Module::from_wat(&guest.text))
        .workers(1)
        .limits(limits())
        .interrupt_grace(grace)
}

/// The call that is answered afterwards, whatever happened before.
fn innocent(host: &Host) {
    let answer = wait_for(host.call("innocent", ()).timeout(TIMEOUT));
    let answer: i64 = answer.unwrap();
    assert_eq!(answer, 42);
}

fn attack_with(guest: &Guest, host: &Host) {
    let timeout = match guest.ends {
        TimesOut => SHORT,
        _ => TIMEOUT,
    };
    let result = wait_for(host.call("attack", ()).timeout(timeout));
    guest.ends.check(guest.name, result);
}

/// One after the other, in a process whose memory nothing else moves.
#[test]
fn each_hostile_guest_ends_as_it_should_costs_no_memory_and_leaves_an_innocent_call_answered() {
    alone(|| {
        let guests = corpus();
        assert!(guests.len() >= 50, "{}", guests.len());
        let before = census();
        let other = host_of(guest::hello()).build_blocking().unwrap();
        let ways = [Interrupt::Epoch, Interrupt::Signal];
        for (guest, interrupt) in guests.iter().flat_map(|guest| ways.map(|way| (guest, way))) {
            let resident = census::forget_peak();
            match builder(guest).interrupt(interrupt).build_blocking() {
                Ok(host) => {
                    assert!(!guest.ends.at_build(), "{} must not be served", guest.name);
                    attack_with(guest, &host);
                    innocent(&host);
                }
                Err(error) => guest.ends.check(guest.name, Err(error)),
            }
            let grown = census::peak_resident_bytes().saturating_sub(resident);
            assert!(
                grown < HOST_GROWS_BY_AT_MOST,
                "{}: {grown} bytes",
                guest.name
            );
            let greeting: String = wait_for(other.run_sync("greet", ("you",))).unwrap();
            assert_eq!(greeting, "Hello, you!", "after {}", guest.name);
        }
        drop(other);
        eventually(BOUND, || census().counts() == before.counts());
    });
}

#[test]
fn each_endless_guest_is_stopped_by_a_kill_too() {
    for guest in endless() {
        let host = builder(&guest)
            .interrupt(Interrupt::KillOnly)
            .build_blocking()
            .unwrap();
        attack_with(&guest, &host);
        innocent(&host);
    }
}

#[test]
fn a_guest_that_keeps_its_state_keeps_no_harm() {
    for guest in [traps(), abi(), talk(), wasi()].into_iter().flatten() {
        let host = builder(&guest).state(State::Keep).build_blocking().unwrap();
        for _ in 0..3 {
            attack_with(&guest, &host);
            innocent(&host);
        }
    }
}

/// It answers, and then never gives its memory back: the caller has its value, the worker is lost.
#[test]
fn a_guest_that_never_takes_its_reply_back_costs_no_call() {
    let text = work("(i64.const 4398046511105)").replace(
        r#"(func (export "stockade_free") (param i32 i32))"#,
        r#"(func (export "stockade_free") (param i32 i32) (loop $l (br $l)))"#,
    );
    let host = host_of(Module::from_wat(&text))
        .workers(1)
        .state(State::Keep)
        .build_blocking()
        .unwrap();
    for _ in 0..3 {
        let call = host.call("attack", ()).timeout(TIMEOUT);
        let answered: Result<(), _> = wait_for(call);
        answered.unwrap();
    }
    innocent(&host);
}

/// It gives room in a call, and does not come back when it is asked ahead: the next call runs in another worker.
#[test]
fn a_guest_that_never_gives_room_ahead_costs_no_call() {
    let text = r#"(module
        (memory (export "memory") 3)
        (global $asked (mut i32) (i32.const 0))
        (func (export "stockade_alloc") (param i32) (result i32)
            (loop $l (br_if $l (i32.eq (global.get $asked) (i32.const 2))))
            (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
            (i32.const 131072))
        (func (export "stockade_free") (param i32 i32))
        (func (export "stockade:attack") (param i32 i32) (result i64) (i64.const 4398046511105)))"#;
    let host = host_of(Module::from_wat(text))
        .workers(1)
        .state(State::Keep)
        .build_blocking()
        .unwrap();
    for _ in 0..5 {
        let call = host.call("attack", ()).timeout(TIMEOUT);
        let answered: Result<(), _> = wait_for(call);
        answered.unwrap();
    }
    assert_ne!(host.stats().workers[0].id, 1, "it was never asked ahead");
}

#[test]
fn a_storm_of_traps_wears_nobody_out() {
    let guest = guest_of(
        "unreachable",
        attack("unreachable"),
        Ends::Trap(Trap::Unreachable),
    );
    let host = builder(&guest).build_blocking().unwrap();
    for _ in 0..1000 {
        attack_with(&guest, &host);
    }
    innocent(&host);
    let stats = host.stats();
    assert_eq!((stats.workers[0].id, stats.calls.failed.trap), (1, 1000));
}
