// SPDX-License-Identifier: Apache-2.0
//! Which images of a source `umoci import` and `umoci export` copy, and what comes along.

use umoci::error::{Error, ErrorKind};
use umoci::progress::Monitor;
use umoci::spec::Platform;
use umoci::transfer::{Offer, Request, Source, ToOci, referrers};

use super::failure::{Failure, Outcome};
use super::ui::Ui;

/// What is to be copied.
#[derive(Debug, Default)]
pub struct Choice {
    /// The images that are asked for.
    pub images: Vec<Request>,
    /// What has the name of something about an image.
    pub about: Vec<Request>,
}

/// How a person says what is missing.
#[derive(Debug)]
pub struct Words {
    /// The source.
    pub source: String,
    /// What gives a name to an image without one.
    pub naming: String,
    /// What takes one of several images without a name.
    pub choosing: String,
}

impl Choice {
    /// All images of a source that have a name, or its only one if that has none and gets one; of indexes the image for
    /// `platform` alone if there is one.
    pub fn all(
        source: &dyn Source,
        platform: Option<&Platform>,
        gets_name: bool,
        words: &Words,
        ui: &Ui,
    ) -> Outcome<Self> {
        let Words {
            source: from,
            naming,
            choosing,
        } = words;
        let mut offer = Offer::of(source, ui)?;
        match (offer.named.len(), offer.unnamed.as_slice()) {
            (0, []) => {
                let text = format!("there is no image in {from}");
                return Err(Error::new(ErrorKind::NotFound, text).into());
            }
            (0, [one]) if gets_name => offer.named.push(Request {
                name: None,
                descriptor: source.descriptor(one)?,
            }),
            (0, [_]) => {
                let text = format!("the image in {from} has no name: {naming}");
                return Err(Failure::Arguments(text));
            }
            (0, several) => {
                let n = several.len();
                let text = format!("the {n} images in {from} have no names: {choosing}");
                return Err(Failure::Arguments(text));
            }
            (_, []) => {}
            (_, some) => {
                let n = some.len();
                let images = if n == 1 { "image" } else { "images" };
                ui.warn(format_args!(
                    "left out {n} {images} without a name in {from}: {choosing}"
                ));
            }
        }
        let images = offer.named.into_iter().map(|request| match platform {
            Some(_) => request.for_platform(source, platform),
            None => Ok(request),
        });
        Ok(Self {
            images: images.collect::<Result<_, Error>>()?,
            about: offer.about,
        })
    }

    /// The images, and what comes along if that is wanted; converted if that is wanted.
    pub fn settled(
        self,
        source: &dyn Source,
        mut converted: Option<&mut ToOci<'_>>,
        with_referrers: bool,
        ui: &Ui,
    ) -> Outcome<(Vec<Request>, Vec<Request>)> {
        let Self { mut images, about } = self;
        let mut along = if with_referrers {
            let mut is_changed = |descriptor: &_| match &mut converted {
                Some(converted) => converted.changes(descriptor),
                None => Ok(false),
            };
            referrers(source, &images, about, &mut is_changed, ui)?
        } else {
            Vec::new()
        };
        if let Some(converted) = converted {
            for request in images.iter_mut().chain(&mut along) {
                *request = converted.convert(request.clone())?;
            }
        }
        Ok((images, along))
    }
}
