//! The whole numbers of JSON bodies. Each type validates its range when it is parsed, so every existing value is valid.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::limit::Threshold;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($value:ty): $least:literal..=$most:expr, $make:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(in crate::http) struct $name(pub(in crate::http) $value);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_u64(WholeNumber { least: $least, most: $most, make: $make }).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "integer", "minimum": $least, "maximum": $most })
            }
        }
    )+};
}

numbers! {
    /// The threshold of a limit.
    ThresholdNumber(Threshold): 0..=Threshold::MAX, Threshold::new;

    /// The weight of a target.
    Weight(u8): 1..=100, |number| number.try_into().ok();

    /// The most requests that run on a target at the same time.
    MaxConcurrent(u32): 1..=100_000, |number| number.try_into().ok();

    /// A number of input tokens above which a request is long.
    LongAbove(u64): 1..=Threshold::MAX, Some;

    /// How long a replaced key keeps working, in seconds.
    GraceSeconds(u32): 0..=2_592_000, |number| number.try_into().ok();

    /// The longest time that a request waits for a target with free capacity, in seconds.
    QueueTimeout(u16): 0..=600, |number| number.try_into().ok();
}

/// Reads a number from `least` to `most`, for which `make` returns a value.
struct WholeNumber<T> {
    least: u64,
    most: u64,
    make: fn(u64) -> Option<T>,
}

impl<T> de::Visitor<'_> for WholeNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {} to {}", self.least, self.most)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        let value = Some(number).filter(|number| (self.least..=self.most).contains(number)).and_then(self.make);
        value.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }
}
