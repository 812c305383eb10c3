//! Functions that a host's builder was told of: a module that has them otherwise is refused before any call.

use stockade::{Bytes, Error, Host, HostBuilder, Module};
use stockade_tests::{guest, host_of};

/// The function, as the module has it and as it was expected.
fn signatures(error: &Error) -> (&str, &str, &str) {
    let Error::Signature {
        function,
        expected,
        found,
    } = error
    else {
        panic!("{error:?}")
    };
    let shown = error.to_string();
    assert!(shown.contains(&**expected) && shown.contains(&**found));
    (function, expected, found)
}

async fn refusal(builder: HostBuilder) -> Error {
    builder.build().await.unwrap_err()
}

#[tokio::test]
async fn a_module_that_has_what_is_expected_is_served() {
    let host: Host = host_of(guest::hello())
        .expects(hello::fib)
        .expects(hello::greet)
        .expects(hello::add)
        .expects::<_, (u32,), u64>("fib")
        .build()
        .await
        .unwrap();
    assert_eq!(host.run_sync(hello::fib, (10,)).await.unwrap(), 55);
    let host = host_of(guest::probe()).expects(probe::echo::echo);
    let host = host.build().await.unwrap();
    let bytes = Bytes::from(vec![1, 2, 3]);
    let echoed = host.run_sync(probe::echo::echo, (bytes.clone(),));
    assert_eq!(echoed.await.unwrap(), bytes);
}

/// What the host was compiled against.
mod older {
    pub(super) fn fib(_: i64) -> u64 {
        0
    }

    pub(super) fn add(_: u32) -> u64 {
        0
    }

    pub(super) fn triple(_: u32) -> u64 {
        0
    }
}

#[tokio::test]
async fn a_function_of_other_types_is_refused_when_the_host_is_built_with_both_signatures() {
    let error = refusal(host_of(guest::hello()).expects(older::fib)).await;
    let both = ("fib", "fib(n: u32) -> u64", "(i64,) -> u64");
    assert_eq!(signatures(&error), both);
    let error = refusal(host_of(guest::hello()).expects(older::add)).await;
    let both = ("add", "add(a: u32, b: u32) -> u64", "(u32,) -> u64");
    assert_eq!(signatures(&error), both);
    let expects = host_of(guest::hello()).expects::<_, (u32,), String>("fib");
    let both = (
        "fib",
        "fib(n: u32) -> u64",
        "(u32,) -> alloc::string::String",
    );
    assert_eq!(signatures(&refusal(expects).await), both);
}

#[tokio::test]
async fn a_function_that_is_missing_or_has_no_name_is_refused_when_the_host_is_built() {
    let error = refusal(host_of(guest::hello()).expects(older::triple)).await;
    let Error::NoSuchFunction { name, available } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(name, "triple");
    assert_eq!(*available, ["add", "empty", "fib", "greet"]);
    let error = refusal(host_of(guest::hello()).expects(|n: u32| u64::from(n))).await;
    let Error::Config { field, reason } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*field, "expects");
    assert!(
        reason.contains("pass the #[work] function itself"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_reload_to_a_module_of_other_types_leaves_the_host_as_it_was() {
    let host = host_of(guest::hello()).expects(hello::fib);
    let host = host.build().await.unwrap();
    let numeric = Module::from_wat(
        r#"(module (func (export "fib") (param i64) (result i64) (local.get 0)))"#,
    );
    let error = host.reload(numeric).await.unwrap_err();
    assert_eq!(
        signatures(&error),
        ("fib", "fib(i64) -> i64", "(u32,) -> u64")
    );
    let error = host.reload(guest::markdown()).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchFunction { .. }), "{error}");
    assert_eq!(host.run_sync(hello::fib, (10,)).await.unwrap(), 55);
}
