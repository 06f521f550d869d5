//! [`Image`]: pixels in memory.

use std::{io::Cursor, path::Path};

use image::{DynamicImage, ImageReader, imageops::FilterType};
use zae_core::{data::Normalize, error::Fallible};

use crate::files::cannot_read;

/// What a pixel is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Channels {
    /// Grey alone.
    Gray,
    /// Red, green, blue.
    #[default]
    Rgb,
    /// The same, and how opaque it is.
    Rgba,
}

impl Channels {
    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

/// A decoded image, 8 bits for each channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Row by row from the top, pixel by pixel from the left, channel by channel.
    pub pixels: Vec<u8>,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// What a pixel is made of.
    pub channels: Channels,
}

impl Image {
    /// Reads a file, whose content shows its format. Whatever its colours are, they are turned into these channels; an
    /// orientation that a camera wrote beside the pixels is not applied, as in torchvision.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or is in no format that is read: PNG, JPEG, WebP, BMP, PNM.
    pub fn read(path: impl AsRef<Path>, channels: Channels) -> Fallible<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| cannot_read(path, error))?;
        Self::decode(&bytes, channels).map_err(|error| cannot_read(path, error).into())
    }

    /// The same, of bytes in memory: a member of a tar shard.
    ///
    /// # Errors
    /// As [`Image::read`].
    pub fn decode(bytes: &[u8], channels: Channels) -> Fallible<Self> {
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
        if reader.format().is_none() {
            return Err("it is no PNG, JPEG, WebP, BMP or PNM: convert it, or take it away".into());
        }
        let decoded = reader.decode().map_err(|error| format!("{error}: write it again, or take it away"))?;
        Ok(Self::of(&decoded, channels))
    }

    fn of(decoded: &DynamicImage, channels: Channels) -> Self {
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        let pixels = match channels {
            Channels::Gray => decoded.to_luma8().into_raw(),
            Channels::Rgb => decoded.to_rgb8().into_raw(),
            Channels::Rgba => decoded.to_rgba8().into_raw(),
        };
        Self { pixels, width, height, channels }
    }

    /// The image at another size, interpolated linearly, over all pixels that one of a smaller image covers (torchvision's
    /// `Resize` with `antialias`). Its shape is not kept.
    ///
    /// # Errors
    /// When a side is 0, or `pixels` was changed so that it does not fit `width` and `height`.
    pub fn resize(&self, width: usize, height: usize) -> Fallible<Self> {
        if width == 0 || height == 0 {
            return Err(format!("an image of {width} x {height} pixels: give 1 or more for both").into());
        }
        let size = (u32::try_from(self.width)?, u32::try_from(self.height)?);
        let pixels = self.pixels.clone();
        let decoded = match self.channels {
            Channels::Gray => image::GrayImage::from_raw(size.0, size.1, pixels).map(DynamicImage::from),
            Channels::Rgb => image::RgbImage::from_raw(size.0, size.1, pixels).map(DynamicImage::from),
            Channels::Rgba => image::RgbaImage::from_raw(size.0, size.1, pixels).map(DynamicImage::from),
        };
        let decoded = decoded.ok_or("the pixels of the image do not fit its size: give `width * height` of them")?;
        let resized = decoded.resize_exact(u32::try_from(width)?, u32::try_from(height)?, FilterType::Triangle);
        Ok(Self::of(&resized, self.channels))
    }

    /// All reds, then all greens, then all blues, from 0 to 1: the layout `[channels, height, width]` of PyTorch and Burn,
    /// torchvision's `ToTensor`.
    #[must_use]
    pub fn to_planes(&self) -> Vec<f32> {
        let channels = self.channels.count();
        let plane = |c| self.pixels.iter().skip(c).step_by(channels).map(|&byte| f32::from(byte) / 255.0);
        (0..channels).flat_map(plane).collect()
    }

    /// The same, normalised by a mean and a standard deviation of each channel.
    ///
    /// ```
    /// # use zae_core::{data::Normalize, error::Fallible};
    /// # fn planes(image: &zae_data::Image) -> Fallible<Vec<f32>> {
    /// let of_imagenet = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];
    /// let channels = of_imagenet.map(|(mean, std)| Normalize::new(mean, std));
    /// image.to_normalized_planes(&channels.into_iter().collect::<Fallible<Vec<_>>>()?)
    /// # }
    /// ```
    ///
    /// # Errors
    /// When there are more or fewer of them than channels.
    pub fn to_normalized_planes(&self, channels: &[Normalize]) -> Fallible<Vec<f32>> {
        let (given, has) = (channels.len(), self.channels.count());
        if given != has {
            return Err(
                format!("{given} means and standard deviations for {has} channels: give one pair for each").into()
            );
        }
        let mut planes = Vec::with_capacity(self.pixels.len());
        for (c, normalize) in channels.iter().enumerate() {
            let plane: Vec<u8> = self.pixels.iter().skip(c).step_by(has).copied().collect();
            normalize.extend(&mut planes, &plane);
        }
        Ok(planes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn planes_are_one_channel_each() {
        let image = Image { pixels: vec![0, 51, 102, 153, 204, 255], width: 2, height: 1, channels: Channels::Rgb };
        assert_eq!(image.to_planes(), [0.0, 0.6, 0.2, 0.8, 0.4, 1.0]);
        let channels = [(0.0, 1.0), (0.5, 0.5), (0.0, 0.5)].map(|(mean, std)| Normalize::new(mean, std).unwrap());
        let planes = image.to_normalized_planes(&channels).unwrap();
        for (number, expected) in planes.into_iter().zip([0.0, 0.6, -0.6, 0.6, 0.8, 2.0]) {
            assert!((number - expected).abs() < 1e-6, "{number} {expected}");
        }
        let error = image.to_normalized_planes(&channels[..1]).unwrap_err().to_string();
        assert_eq!(error, "1 means and standard deviations for 3 channels: give one pair for each");
        assert_eq!(image.resize(2, 1).unwrap(), image);
        assert_eq!(image.resize(6, 5).unwrap().pixels.len(), 6 * 5 * 3);
        assert!(image.resize(0, 5).unwrap_err().to_string().contains("give 1 or more for both"));
        let wrong = Image { width: 3, ..image };
        assert!(wrong.resize(2, 2).unwrap_err().to_string().contains("do not fit its size"));
    }

    #[test]
    fn half_the_size_is_the_mean_of_what_it_covers() {
        let image = Image { pixels: vec![10, 20, 30, 40], width: 2, height: 2, channels: Channels::Gray };
        assert_eq!(image.resize(1, 1).unwrap().pixels, [25]);
    }
}
