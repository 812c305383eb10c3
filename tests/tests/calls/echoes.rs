//! Values of every shape, there and back, in both codecs and with both kinds of state.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use probe::echo;
use probe::echo::{Point, Shape};
use stockade::{Bytes, Codec, Host, State};
use stockade_tests::{guest, host_of};

/// Each function with each value, in `codec`.
macro_rules! come_back {
    ($host:expr, $codec:expr; $($function:ident: $values:expr;)*) => {$(
        for value in $values {
            let call = $host.call(echo::$function, (value.clone(),)).codec($codec);
            same(stringify!($function), &value, &call.await.unwrap());
        }
    )*};
}

#[track_caller]
fn same<T: PartialEq + Debug>(function: &str, sent: &T, returned: &T) {
    assert_eq!(sent, returned, "{function}");
}

fn text(len: usize) -> String {
    "aé€𝄞\0\"\\\n\u{7f}".chars().cycle().take(len).collect()
}

fn point() -> Point {
    Point {
        x: f64::MIN_POSITIVE,
        y: -0.1,
        label: text(20),
    }
}

async fn check(host: &Host, codec: Codec) {
    come_back! { host, codec;
        echo_bool: [false, true];
        echo_btree_map: [BTreeMap::new(), (0..300).map(|n| (n * 7, text(n as usize % 5))).collect()];
        echo_char: ['\0', 'a', '\u{d7ff}', '\u{e000}', char::MAX];
        echo_enum: [
            Shape::Empty,
            Shape::Circle(-1e300),
            Shape::Line(point(), point()),
            Shape::Rectangle { width: 0, height: u32::MAX },
        ];
        echo_f32: [0.0, -0.5, f32::MIN, f32::MAX, f32::EPSILON, 0.1];
        echo_f64: [0.0, -0.5, f64::MIN, f64::MAX, f64::EPSILON, 0.1 + 0.2, std::f64::consts::PI];
        echo_hash_map: [HashMap::new(), (0..300).map(|n| (format!("{n}{}", text(3)), n)).collect()];
        echo_i8: [0, 1, -1, i8::MIN, i8::MAX];
        echo_i16: [0, 1, -1, i16::MIN, i16::MAX, 250, 251];
        echo_i32: [0, 1, -1, i32::MIN, i32::MAX, 65_535, 65_536];
        echo_i64: [0, 1, -1, i64::MIN, i64::MAX, 1 << 32];
        echo_i128: [0, 1, -1, i128::MIN, i128::MAX, 1 << 64];
        echo_nested: [
            vec![],
            vec![vec![], vec![None], vec![Some(String::new()), None, Some(text(9))]],
            vec![vec![Some(text(50)); 20]; 20],
        ];
        echo_option: [None, Some(0), Some(u32::MAX)];
        echo_result: [Ok(0), Ok(u32::MAX), Err(String::new()), Err(text(7))];
        echo_string: [String::new(), text(1), text(9), text(10_000)];
        echo_struct: [point(), Point { x: 0.0, y: f64::MAX, label: String::new() }];
        echo_tuple: [(0, String::new(), false), (u32::MAX, text(30), true)];
        echo_u8: [0, 1, 250, 251, 255];
        echo_u16: [0, 250, 251, u16::MAX];
        echo_u32: [0, 250, 251, 65_535, 65_536, u32::MAX];
        echo_u64: [0, 251, 1 << 32, u64::MAX];
        echo_u128: [0, 251, 1 << 64, u128::MAX];
        echo_unit: [()];
        echo_vec: [vec![], vec![0], vec![255; 300]];
        echo: [Bytes::from(vec![]), Bytes::from(vec![0, 255]), Bytes::from(vec![251; 5000])];
    }
    let bytes = [0u8, 255, 7];
    let call = host.call(echo::echo_slice, (&bytes[..],)).codec(codec);
    assert_eq!(call.await.unwrap(), bytes);
}

#[tokio::test]
async fn every_value_comes_back_as_it_went() {
    for state in [State::Fresh, State::Keep] {
        let host = host_of(guest::probe())
            .workers(1)
            .state(state)
            .build()
            .await
            .unwrap();
        for codec in [Codec::Bincode, Codec::Json] {
            check(&host, codec).await;
        }
        assert_eq!(host.stats().workers.len(), 1);
    }
}

#[tokio::test]
async fn the_codec_of_a_host_is_that_of_its_calls() {
    let host = host_of(guest::probe())
        .codec(Codec::Json)
        .build()
        .await
        .unwrap();
    check(&host, Codec::Json).await;
    // Only a self-describing codec can carry this.
    let value = serde_json::json!({"x": 1.5, "y": -2.0, "label": "dynamic"});
    let point: serde_json::Value = host.run_sync("echo_struct", (&value,)).await.unwrap();
    assert_eq!(point, value);
    let error = host
        .call::<_, _, serde_json::Value>("echo_struct", (&value,))
        .codec(Codec::Bincode);
    assert!(error.await.is_err());
}

#[tokio::test]
async fn floats_that_json_cannot_say_come_back_in_bincode() {
    let host = host_of(guest::probe()).build().await.unwrap();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0] {
        let returned = host.run_sync(echo::echo_f64, (value,)).await.unwrap();
        assert_eq!(returned.to_bits(), value.to_bits());
        let returned = host
            .run_sync(echo::echo_f32, (value as f32,))
            .await
            .unwrap();
        assert_eq!(returned.to_bits(), (value as f32).to_bits());
    }
}
