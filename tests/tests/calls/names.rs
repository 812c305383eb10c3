//! By name or by item, and the types of a call against the types of the function.

use std::borrow::Cow;
use std::sync::Arc;

use probe::echo::Point;
use serde::{Deserialize, Serialize};
use stockade::{Bytes, Error, Limiter};
use stockade_tests::{guest, host_of};

#[tokio::test]
async fn every_kind_of_string_and_the_item_itself_name_a_function() {
    let host = host_of(guest::hello()).build().await.unwrap();
    let owned = String::from("fib");
    let by_name: [u64; 6] = [
        host.run_sync("fib", (10u32,)).await.unwrap(),
        host.run_sync(&owned, (10u32,)).await.unwrap(),
        host.run_sync(owned.clone(), (10u32,)).await.unwrap(),
        host.run_sync(Cow::Borrowed("fib"), (10u32,)).await.unwrap(),
        host.run_sync(Cow::<str>::Owned(owned.clone()), (10u32,))
            .await
            .unwrap(),
        host.run_sync(Arc::<str>::from("fib"), (10u32,))
            .await
            .unwrap(),
    ];
    assert_eq!(by_name, [55; 6]);
    // The item brings the types: neither the literal nor the result says its own.
    assert_eq!(host.run_sync(hello::fib, (10,)).await.unwrap(), 55);
    assert_eq!(
        host.run_sync(hello::add, (u32::MAX, 1)).await.unwrap(),
        1 << 32
    );
    host.run_sync(hello::empty, ()).await.unwrap();
}

#[tokio::test]
async fn a_closure_and_a_function_pointer_have_no_name() {
    let host = host_of(guest::hello()).build().await.unwrap();
    let pointer: fn(u32) -> u64 = hello::fib;
    for error in [
        host.run_sync(pointer, (10,)).await.unwrap_err(),
        host.run_sync(|n: u32| u64::from(n), (10,))
            .await
            .unwrap_err(),
    ] {
        assert!(
            matches!(
                &error,
                Error::Config {
                    field: "function",
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .contains("pass the #[work] function itself"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_unknown_function_is_told_what_exists() {
    let host = host_of(guest::hello()).build().await.unwrap();
    for name in [
        "fibonacci",
        "",
        "stockade:fib",
        "stockade_alloc",
        "_initialize",
        "memory",
    ] {
        let error = host.run_sync::<_, _, ()>(name, ()).await.unwrap_err();
        let Error::NoSuchFunction {
            name: asked,
            available,
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(asked, name);
        assert_eq!(*available, ["add", "empty", "fib", "greet"]);
        let shown = error.to_string();
        assert!(
            shown.contains(&format!("`{name}`")) && shown.contains("`greet`"),
            "{shown}"
        );
    }
    // A typed call of another guest's function is the same mistake.
    let error = host.run_sync(probe::values::no_args, ()).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchFunction { .. }), "{error:?}");
}

#[tokio::test]
async fn an_i32_where_a_u32_is_wanted_is_an_error_and_not_another_number() {
    let host = host_of(guest::hello()).build().await.unwrap();
    let error = host.run_sync::<_, _, u64>("fib", (32,)).await.unwrap_err();
    let Error::Signature {
        function,
        expected,
        found,
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(function, "fib");
    assert_eq!(
        (&**expected, &**found),
        ("fib(n: u32) -> u64", "(i32,) -> u64")
    );
    let shown = error.to_string();
    assert!(
        shown.contains(expected.as_str()) && shown.contains(found.as_str()),
        "{shown}"
    );
    assert!(
        shown.contains("give the types that the guest has"),
        "{shown}"
    );
}

#[tokio::test]
async fn wrong_types_are_refused_before_a_permit_or_a_worker_is_taken() {
    // No call could be dispatched here.
    let host = host_of(guest::probe())
        .limiter(Limiter::new(0))
        .build()
        .await
        .unwrap();
    macro_rules! refused {
        ($($name:literal $args:expr => $result:ty;)*) => {$(
            let error = host.run_sync::<_, _, $result>($name, $args).await.unwrap_err();
            let Error::Signature { function, .. } = &error else { panic!("{}: {error:?}", $name) };
            assert_eq!(function, $name);
        )*};
    }
    refused! {
        "no_args" (1u32,) => u32;
        "no_args" () => u64;
        "no_args" () => ();
        "echo_u8" () => u8;
        "echo_u8" (1u8, 2u8) => u8;
        "echo_u8" (1u16,) => u8;
        "echo_i64" (1i32,) => i64;
        "echo_f32" (1f64,) => f32;
        "echo_f64" (1u64,) => f64;
        "echo_bool" (1u8,) => bool;
        "echo_char" ("a",) => char;
        "echo_string" (1u8,) => String;
        "echo_string" ("a",) => Vec<u8>;
        "echo_option" (1u32,) => Option<u32>;
        "echo_option" (Some(1i32),) => Option<u32>;
        "echo_result" (Ok::<u32, String>(1),) => u32;
        "echo_tuple" ((1u32, "a"),) => (u32, String, bool);
        "echo_vec" ("a",) => Vec<u8>;
        "echo_vec" (vec![1u32],) => Vec<u8>;
        "echo" ("text",) => Bytes;
        "echo_nested" (vec![Some("a")],) => Vec<Vec<Option<String>>>;
        "divide" (1i64, 2i64) => i64;
        "sum" (vec![1u32],) => u64;
    }
}

#[tokio::test]
async fn what_serde_encodes_alike_is_accepted() {
    let host = host_of(guest::probe()).build().await.unwrap();
    let s: String = host.run_sync("echo_string", ("borrowed",)).await.unwrap();
    assert_eq!(s, "borrowed");
    let s: Box<str> = host
        .run_sync("echo_string", (Cow::Borrowed("cow"),))
        .await
        .unwrap();
    assert_eq!(&*s, "cow");
    let bytes: Vec<u8> = host.run_sync("echo", (&[1u8, 2][..],)).await.unwrap();
    assert_eq!(bytes, [1, 2]);
    let bytes: Bytes = host
        .run_sync("echo_vec", (Bytes::from(vec![3, 4]),))
        .await
        .unwrap();
    assert_eq!(bytes, [3, 4]);
    let length: u64 = host
        .run_sync("takes_slice", (vec![1u32, 2],))
        .await
        .unwrap();
    assert_eq!(length, 3);
    let option: Option<u32> = host.run_sync("echo_option", (Some(7u32),)).await.unwrap();
    assert_eq!(option, Some(7));
}

#[tokio::test]
async fn arguments_are_borrowed_where_the_caller_keeps_them() {
    let host = host_of(guest::probe()).build().await.unwrap();
    let text = String::from("grün");
    let numbers = [1u32, 2, u32::MAX];
    let point = Point {
        x: 0.5,
        y: -1.0,
        label: "here".to_owned(),
    };
    assert_eq!(
        host.run_sync(probe::values::takes_str, (&*text,))
            .await
            .unwrap(),
        5
    );
    assert_eq!(
        host.run_sync(probe::values::takes_bytes, (text.as_bytes(),))
            .await
            .unwrap(),
        5
    );
    assert_eq!(
        host.run_sync(probe::values::takes_slice, (&numbers[..],))
            .await
            .unwrap(),
        (1 << 32) + 2
    );
    assert_eq!(
        host.run_sync(probe::values::takes_ref_struct, (&point,))
            .await
            .unwrap(),
        "here"
    );
    assert_eq!(
        host.run_sync(probe::values::takes_option_str, (Some(&*text),))
            .await
            .unwrap(),
        Some(5)
    );
    assert_eq!(
        host.run_sync(probe::values::takes_option_str, (None,))
            .await
            .unwrap(),
        None
    );
    let by_name: usize = host.run_sync("takes_str", (&text,)).await.unwrap();
    assert_eq!(by_name, 5);
    let by_name: String = host.run_sync("takes_ref_struct", (&point,)).await.unwrap();
    assert_eq!(by_name, point.label);
    let bytes = Bytes::from(vec![0; 9]);
    assert_eq!(
        host.run_sync(probe::values::takes_ref_bytes, (&bytes,))
            .await
            .unwrap(),
        9
    );
}

#[tokio::test]
async fn twelve_arguments_arrive_in_their_order() {
    let host = host_of(guest::probe()).build().await.unwrap();
    let args = (
        1u8, 2u16, 3u32, 4u64, -5i8, -6i16, -7i32, -8i64, 0.5f64, true, 'x', "end",
    );
    let text = "1 2 3 4 -5 -6 -7 -8 0.5 true x end";
    assert_eq!(
        host.run_sync(probe::values::many_args, args).await.unwrap(),
        text
    );
    assert_eq!(
        host.run_sync::<_, _, String>("many_args", args)
            .await
            .unwrap(),
        text
    );
}

#[tokio::test]
async fn a_functions_own_result_is_a_value() {
    let host = host_of(guest::probe()).build().await.unwrap();
    assert_eq!(
        host.run_sync(probe::values::divide, (7, 2)).await.unwrap(),
        Ok(3)
    );
    let refused = host.run_sync(probe::values::divide, (7, 0)).await.unwrap();
    assert_eq!(refused, Err("7 cannot be divided by 0".to_owned()));
}

/// What the type check cannot know: a type of the caller's own.
#[derive(Debug, Serialize, Deserialize)]
struct NoPoint {
    label: String,
}

#[tokio::test]
async fn arguments_that_the_guest_cannot_decode_are_a_typed_error() {
    let host = host_of(guest::probe()).workers(1).build().await.unwrap();
    let pid = host.stats().workers[0].pid;
    for codec in [stockade::Codec::Bincode, stockade::Codec::Json] {
        let wrong = NoPoint {
            label: "a".to_owned(),
        };
        let call = host
            .call::<_, _, String>("takes_ref_struct", (wrong,))
            .codec(codec);
        let error = call.await.unwrap_err();
        let Error::DecodeArgs { function, reason } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(function, "takes_ref_struct");
        // What the function is, and which argument is to blame.
        assert!(
            reason.contains("takes_ref_struct") && reason.contains("Point"),
            "{reason}"
        );
        assert!(
            error
                .to_string()
                .contains("did not understand its arguments"),
            "{error}"
        );
    }
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn a_result_that_does_not_decode_is_a_typed_error() {
    let host = host_of(guest::probe()).workers(1).build().await.unwrap();
    let pid = host.stats().workers[0].pid;
    let point = || Point {
        x: 1.0,
        y: 2.0,
        label: "p".to_owned(),
    };
    for codec in [stockade::Codec::Bincode, stockade::Codec::Json] {
        let call = host
            .call::<_, _, [NoPoint; 1]>("echo_struct", (point(),))
            .codec(codec);
        let error = call.await.unwrap_err();
        assert!(
            matches!(&error, Error::Signature { .. } | Error::DecodeResult { .. }),
            "{error:?}"
        );

        #[derive(Debug, Deserialize)]
        struct Longer {
            #[expect(dead_code, reason = "only its decoding matters")]
            point: (Point, u8),
        }
        let error = host
            .call::<_, _, Longer>("echo_struct", (point(),))
            .codec(codec)
            .await
            .unwrap_err();
        let Error::DecodeResult { function, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(function, "echo_struct");
        assert!(
            error
                .to_string()
                .contains("does not decode as the expected type"),
            "{error}"
        );
    }
    assert_eq!(host.stats().workers[0].pid, pid);
}

/// A value that serde cannot encode.
struct Unencodable;

impl Serialize for Unencodable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("this one refuses"))
    }
}

#[tokio::test]
async fn arguments_that_cannot_be_encoded_leave_the_worker_untouched() {
    let limiter = Limiter::new(1);
    let host = host_of(guest::probe())
        .limiter(limiter.clone())
        .workers(1)
        .state(stockade::State::Keep)
        .build()
        .await
        .unwrap();
    assert_eq!(host.run_sync(probe::state::count, ()).await.unwrap(), 1);
    for codec in [stockade::Codec::Bincode, stockade::Codec::Json] {
        // A part is written before the error is met.
        let args = ("x".repeat(10_000), Unencodable);
        let call = host.call::<_, _, ()>("echo_tuple", (args,)).codec(codec);
        let error = call.await.unwrap_err();
        assert!(matches!(error, Error::Signature { .. }), "{error:?}");

        let args = (Unencodable,);
        let error = host
            .call::<_, _, String>("takes_ref_struct", args)
            .codec(codec)
            .await
            .unwrap_err();
        let Error::EncodeArgs { function, reason } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(function, "takes_ref_struct");
        assert!(reason.contains("this one refuses"), "{reason}");
    }
    assert_eq!(limiter.borrowed(), 0);
    assert_eq!(host.run_sync(probe::state::count, ()).await.unwrap(), 2);
    assert_eq!(host.stats().workers.len(), 1);
}

#[tokio::test]
async fn a_result_that_cannot_be_encoded_is_a_typed_error() {
    let host = host_of(guest::probe()).workers(1).build().await.unwrap();
    for codec in [stockade::Codec::Bincode, stockade::Codec::Json] {
        let call = host.call::<_, _, NoPoint>("unencodable", ()).codec(codec);
        let error = call.await.unwrap_err();
        let Error::EncodeResult { function, reason } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(function, "unencodable");
        assert!(
            reason.contains("this value refuses to be encoded"),
            "{reason}"
        );
    }
}
