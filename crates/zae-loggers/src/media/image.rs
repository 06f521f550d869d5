//! [`Image`]: a picture.

use std::sync::Arc;

use zae_core::error::Fallible;

/// No side of a picture is longer: what no tracker could show.
const LONGEST: usize = 1 << 15;

/// A picture, of eight bits for each channel.
#[derive(Clone, PartialEq, Debug)]
pub struct Image {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Arc<[u8]>,
    caption: Option<String>,
}

impl Image {
    /// A grey picture: `width * height` values row by row from the top, 0 is black.
    ///
    /// # Errors
    /// When the pixels do not fit the size.
    pub fn gray(width: usize, height: usize, pixels: impl Into<Arc<[u8]>>) -> Fallible<Self> {
        Self::new(width, height, 1, pixels.into())
    }

    /// A picture in colour: red, green and blue for each pixel, row by row from the top.
    ///
    /// # Errors
    /// When the pixels do not fit the size.
    pub fn rgb(width: usize, height: usize, pixels: impl Into<Arc<[u8]>>) -> Fallible<Self> {
        Self::new(width, height, 3, pixels.into())
    }

    /// A picture in colour with transparency: red, green, blue and alpha for each pixel, row by row from the top.
    ///
    /// # Errors
    /// When the pixels do not fit the size.
    pub fn rgba(width: usize, height: usize, pixels: impl Into<Arc<[u8]>>) -> Fallible<Self> {
        Self::new(width, height, 4, pixels.into())
    }

    /// A picture as tensors have it: `[channels, height, width]` with 1, 3 or 4 channels, from 0 to 1. What is outside of that
    /// is cut, and NaN is black.
    ///
    /// # Errors
    /// When the values do not fit the shape.
    pub fn from_chw([channels, height, width]: [usize; 3], values: &[f32]) -> Fallible<Self> {
        check(width, height, channels, values.len())?;
        let plane = width * height;
        let byte = |value: f32| (value.clamp(0.0, 1.0) * 255.0).round() as u8;
        let pixels = (0..plane).flat_map(|at| (0..channels).map(move |channel| byte(values[channel * plane + at])));
        Self::new(width, height, channels, pixels.collect())
    }

    fn new(width: usize, height: usize, channels: usize, pixels: Arc<[u8]>) -> Fallible<Self> {
        check(width, height, channels, pixels.len())?;
        Ok(Self { width, height, channels, pixels, caption: None })
    }

    /// A text to be shown with it.
    #[must_use]
    pub fn caption(mut self, text: impl Into<String>) -> Self {
        self.caption = Some(text.into());
        self
    }

    /// In pixels.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// In pixels.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// 1 (grey), 3 (red, green, blue) or 4 (with alpha).
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// One value for each channel of each pixel, row by row from the top.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The text to be shown with it.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.caption.as_deref()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pixels.len() + self.caption.as_ref().map_or(0, String::len)
    }

    /// The bytes of a PNG file.
    ///
    /// # Errors
    /// When it is too large for the format.
    pub fn png(&self) -> Fallible<Vec<u8>> {
        let mut out = Vec::new();
        // No side is longer than `LONGEST`.
        let mut encoder = png::Encoder::new(&mut out, self.width as u32, self.height as u32);
        encoder.set_color(match self.channels {
            1 => png::ColorType::Grayscale,
            3 => png::ColorType::Rgb,
            _ => png::ColorType::Rgba,
        });
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(out)
    }
}

fn check(width: usize, height: usize, channels: usize, values: usize) -> Fallible {
    if width == 0 || height == 0 || width > LONGEST || height > LONGEST {
        return Err(format!("a picture is 1 to {LONGEST} pixels wide and high, not {width} x {height}").into());
    }
    if ![1, 3, 4].contains(&channels) {
        return Err(format!("a picture has 1, 3 or 4 channels, not {channels}").into());
    }
    if width * height * channels != values {
        return Err(format!(
            "a picture of {width} x {height} pixels and {channels} channels has {} values, not {values}",
            width * height * channels
        )
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The format's other half is read by those who wrote the library.
    fn decoded(image: &Image) -> (u32, u32, Vec<u8>) {
        let bytes = image.png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width, info.height, pixels)
    }

    #[test]
    fn pixels_return_from_a_png() {
        let image = Image::rgb(3, 2, (0..18).collect::<Vec<u8>>()).unwrap();
        assert_eq!(decoded(&image), (3, 2, (0..18).collect()));
        let planes = Image::from_chw([3, 1, 2], &[0.0, 1.0, 0.5, f32::NAN, -3.0, 7.0]).unwrap();
        assert_eq!(decoded(&planes), (2, 1, vec![0, 128, 0, 255, 0, 255]));
        assert_eq!(decoded(&Image::gray(1, 2, vec![7, 9]).unwrap()), (1, 2, vec![7, 9]));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let text = |result: Fallible<Image>| result.unwrap_err().to_string();
        assert!(text(Image::rgb(2, 2, vec![0; 4])).contains("12 values, not 4"));
        assert!(text(Image::gray(0, 2, vec![])).contains("0 x 2"));
        assert!(text(Image::from_chw([2, 1, 1], &[0.0; 2])).contains("not 2"));
        assert!(text(Image::gray(usize::MAX, 2, vec![])).contains("wide"));
    }
}
