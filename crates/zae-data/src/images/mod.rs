//! Images: [`ImageFolder`], a data set with a folder for each class, and [`Image`].

mod folder;
mod image;

pub use self::{
    folder::ImageFolder,
    image::{Channels, Image},
};
