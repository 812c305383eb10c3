//! Images that somebody else made, as thumbnails.
#![forbid(unsafe_code)]

use std::io::Cursor;

use image::imageops::FilterType;
use image::{ImageError, ImageFormat, ImageReader, Limits};
use stockade_guest::{Bytes, work};

/// No side of a thumbnail is longer: it is a thumbnail.
const THUMBNAIL_SIDE_MAX: u32 = 4096;

/// No side of an image is longer. A few bytes can claim an image of any size.
const IMAGE_SIDE_MAX: u32 = 16_384;

/// What decoding may take: an image of 64 megapixels in four channels.
const DECODED_BYTES_MAX: u64 = 256 << 20;

/// A PNG of the PNG or JPEG `image`, in its proportions, at most as large as told and never larger
/// than it was.
#[work]
pub fn thumbnail(image: &[u8], max_width: u32, max_height: u32) -> Result<Bytes, String> {
    for (side, length) in [("width", max_width), ("height", max_height)] {
        if !(1..=THUMBNAIL_SIDE_MAX).contains(&length) {
            return Err(format!(
                "a thumbnail's {side} is from 1 to {THUMBNAIL_SIDE_MAX} pixels, not {length}"
            ));
        }
    }
    shrink(image, max_width, max_height).map_err(|error| match error {
        ImageError::Limits(_) => format!(
            "the image is too large: at most {IMAGE_SIDE_MAX} pixels wide and high, and {} MiB \
             decoded",
            DECODED_BYTES_MAX >> 20
        ),
        error => format!("the image cannot be read: {error}"),
    })
}

fn shrink(image: &[u8], max_width: u32, max_height: u32) -> Result<Bytes, ImageError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(IMAGE_SIDE_MAX);
    limits.max_image_height = Some(IMAGE_SIDE_MAX);
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    let mut reader = ImageReader::new(Cursor::new(image)).with_guessed_format()?;
    reader.limits(limits);

    let image = reader.decode()?;
    let small = if image.width() <= max_width && image.height() <= max_height {
        image
    } else {
        image.resize(max_width, max_height, FilterType::Lanczos3)
    };
    let mut png = Cursor::new(Vec::new());
    small.write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner().into())
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, GenericImageView};

    use super::*;

    fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(width, height)
            .write_to(&mut bytes, format)
            .unwrap();
        bytes.into_inner()
    }

    fn dimensions(png: &[u8]) -> (u32, u32) {
        image::load_from_memory_with_format(png, ImageFormat::Png)
            .unwrap()
            .dimensions()
    }

    #[test]
    fn an_image_shrinks_in_its_proportions() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let small = thumbnail(&encoded(400, 200, format), 100, 100).unwrap();
            assert_eq!(dimensions(&small), (100, 50));
        }
    }

    #[test]
    fn a_small_image_keeps_its_size() {
        let small = thumbnail(&encoded(20, 10, ImageFormat::Png), 100, 100).unwrap();
        assert_eq!(dimensions(&small), (20, 10));
    }

    #[test]
    fn absurd_sizes_and_other_files_are_refused() {
        let image = encoded(2, 2, ImageFormat::Png);
        let error = thumbnail(&image, 0, 10).unwrap_err();
        assert_eq!(error, "a thumbnail's width is from 1 to 4096 pixels, not 0");
        assert!(
            thumbnail(&image, 10, u32::MAX)
                .unwrap_err()
                .contains("height")
        );

        let mut bomb = image.clone();
        bomb[16..20].copy_from_slice(&u32::MAX.to_be_bytes()[..]);
        assert!(thumbnail(&bomb, 10, 10).is_err());
        let wide = encoded(IMAGE_SIDE_MAX + 1, 1, ImageFormat::Png);
        assert!(
            thumbnail(&wide, 10, 10)
                .unwrap_err()
                .starts_with("the image is too large")
        );
        assert!(
            thumbnail(b"no image", 10, 10)
                .unwrap_err()
                .starts_with("the image cannot be read")
        );
    }
}
