//! What there is to look at, and what belongs to no step, as events.

use super::event::{self, Class, Counts};
use crate::{Aside, Entry, Histogram, Image, Media, protobuf::Message};

/// Browsers are slow with longer tables.
const MOST_ROWS: usize = 200;

/// Appends an entry that is something to look at: one event.
pub(super) fn media(out: &mut Vec<u8>, entry: &Entry<'_>, media: &Media) {
    let name = entry.names.first().map_or("", |name| name);
    event::summary(out, entry.time, entry.step, |summary| match media {
        Media::Image(own) => image(summary, name, own),
        Media::Histogram(own) => histogram(summary, name, own),
        Media::Table(table) => event::text(summary, name, &table.markdown(MOST_ROWS), Counts::Yes),
        Media::Text(text) => event::text(summary, name, text, Counts::Yes),
    });
}

/// `Summary.Image`. Readers keep only the first description that a name has: so the text to an image is one of its own.
fn image(summary: &mut Message<'_>, name: &str, image: &Image) {
    let png = match image.png() {
        Ok(png) => png,
        Err(error) => return event::text(summary, name, &format!("This image is no PNG: {error}"), Counts::Yes),
    };
    summary.message(1, |value| {
        value.string(1, name).message(4, |own| {
            own.varint(1, image.height() as u64).varint(2, image.width() as u64);
            own.varint(3, image.channels() as u64).bytes(4, &png);
        });
    });
    if let Some(text) = image.text() {
        event::text(summary, &format!("{name}/caption"), text, Counts::Yes);
    }
}

/// `HistogramProto`, without the empty bins at both ends: readers take the bins to reach from the least value to the greatest.
fn histogram(summary: &mut Message<'_>, name: &str, histogram: &Histogram) {
    let (edges, counts) = (histogram.edges(), histogram.counts());
    let first = counts.iter().position(|count| *count > 0.0).unwrap_or(0);
    let end = counts.iter().rposition(|count| *count > 0.0).map_or(counts.len(), |last| last + 1);
    let (sum, squares) = histogram.sums();
    summary.message(1, |value| {
        value.string(1, name).message(5, |own| {
            own.double(1, edges[first]).double(2, edges[end]).double(3, counts.iter().sum());
            own.double(4, sum).double(5, squares);
            own.doubles(6, edges[first + 1..=end].iter().copied()).doubles(7, counts[first..end].iter().copied());
        });
    });
}

/// Appends what is told beside the entries, if there is a place for it: it does not count.
pub(super) fn aside(out: &mut Vec<u8>, aside: &Aside, last_step: u64) {
    match aside {
        Aside::System { time, step, values } if !values.is_empty() => {
            event::summary(out, *time, last_step.max(*step), |summary| {
                for (name, number) in values {
                    summary.message(1, |value| {
                        value.string(1, &format!("system/{}", name.replace('.', "/"))).float(2, *number as f32);
                        event::metadata(value, "scalars", b"", Class::Scalar);
                    });
                }
            });
        }
        Aside::Alert { time, title, text, level } => {
            // Of what has the same name and step only the last is shown: so each title is a name.
            let (tag, text) = (format!("alerts/{title}"), format!("**{}**: {text}", level.word()));
            event::summary(out, *time, last_step, |summary| event::text(summary, &tag, &text, Counts::No));
        }
        _ => {}
    }
}
