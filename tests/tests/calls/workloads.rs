//! The guests that do real work.

use std::fs;
use std::path::{Path, PathBuf};

use stockade::{Bytes, Cause, Error, Host, Limits};
use stockade_tests::{guest, host_of};

fn images() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_image = |path: &PathBuf| path.extension().is_some_and(|e| e == "png" || e == "jpg");
    let images: Vec<_> = files.filter(is_image).collect();
    assert!(images.len() >= 4);
    images
}

fn image(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("images")
            .join(name),
    )
    .unwrap()
}

async fn thumbnail(host: &Host, image: &[u8], side: u32) -> Result<Bytes, String> {
    host.run_sync("thumbnail", (Bytes::from(image), side, side))
        .await
        .unwrap()
}

/// Width and height of a PNG.
#[track_caller]
fn png_size(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[tokio::test]
async fn images_become_thumbnails_in_parallel() {
    let host = host_of(guest::thumbnail())
        .workers(2)
        .build()
        .await
        .unwrap();
    let tasks: Vec<_> = images()
        .into_iter()
        .map(|path| {
            let host = host.clone();
            tokio::spawn(async move { thumbnail(&host, &fs::read(path).unwrap(), 48).await })
        })
        .collect();
    for task in tasks {
        let (width, height) = png_size(&task.await.unwrap().unwrap());
        assert!(
            width.max(height) == 48 && width.min(height) > 0,
            "{width} x {height}"
        );
    }
}

#[tokio::test]
async fn what_is_no_image_is_the_functions_own_error() {
    let host = host_of(guest::thumbnail()).build().await.unwrap();
    let error = thumbnail(&host, b"no image", 10).await.unwrap_err();
    assert!(error.starts_with("the image cannot be read"), "{error}");
    let whole = image("wheel.png");
    let cut = &whole[..whole.len() / 2];
    assert!(thumbnail(&host, cut, 10).await.is_err());
    let error = thumbnail(&host, &whole, 0).await.unwrap_err();
    assert!(error.contains("from 1 to 4096"), "{error}");
}

#[tokio::test]
async fn an_image_too_large_for_the_limit_costs_one_call() {
    let limits = Limits {
        memory_bytes: 3 << 20,
        ..Limits::default()
    };
    let host = host_of(guest::thumbnail())
        .workers(1)
        .limits(limits)
        .build()
        .await
        .unwrap();
    // Decoded it takes 2.4 MB, and the guest has more to hold than that.
    let args = (Bytes::from(image("hills.jpg")), 48u32, 48u32);
    let call = host.run_sync::<_, _, Result<Bytes, String>>("thumbnail", args);
    match call.await {
        Err(Error::BrokenWorker(broken)) => {
            assert!(
                matches!(broken.cause(), Cause::OutOfMemory { .. }),
                "{broken}"
            );
        }
        // A library may ask whether it gets the memory.
        Ok(Err(refused)) => assert!(!refused.is_empty()),
        other => panic!("{other:?}"),
    }
    assert!(thumbnail(&host, b"no image", 10).await.is_err());
}

#[tokio::test]
async fn markdown_becomes_sanitised_html() {
    let host = host_of(guest::markdown()).build().await.unwrap();
    let render = async |text: &str| {
        host.run_sync::<_, _, String>("render", (text,))
            .await
            .unwrap()
    };
    assert_eq!(
        render("# Title\n\nSome *text*, <b>kept</b><script>alert(1)</script>.").await,
        "<h1>Title</h1>\n<p>Some <em>text</em>, <b>kept</b>.</p>\n"
    );
    assert_eq!(render("").await, "");
    let readme = include_str!("../../../README.md");
    let html = render(readme).await;
    assert!(html.contains("<h1>") && html.contains("<code"), "{html}");
    assert!(
        !render("[a](javascript:alert(1))")
            .await
            .contains("javascript")
    );
    // Nothing that a person writes makes it fail: brackets, quotes and lists without end.
    for evil in ["[", "> ", "- ", "*", "![", "`", "<div>", "|"] {
        render(&evil.repeat(2000)).await;
    }
}
