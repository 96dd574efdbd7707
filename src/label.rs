//! Closed sets of names: enums whose values are metric labels, log fields or values of a setting.
//!
//! Everything that is counted by kind has such an enum: no client input becomes a label value.

/// An enum with a fixed name for each of its values.
pub trait Label: Copy + 'static {
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// The index of this value in [`Label::ALL`].
    fn index(self) -> usize;

    /// The name of this value in metrics, logs and settings.
    fn as_str(self) -> &'static str;
}

/// Declares enums with a name for each value, and optionally a sentence, which also becomes the
/// value's documentation.
macro_rules! labels {
    ($( $(#[$meta:meta])* $vis:vis enum $name:ident $values:tt )+) => {
        $( $crate::label::label! { $(#[$meta])* $vis enum $name $values } )+
    };
}

/// Declares one of them.
macro_rules! label {
    (
        $(#[$enum_meta:meta])*
        $vis:vis enum $name:ident { $( $(#[$meta:meta])* $value:ident => $text:literal, )+ }
    ) => {
        $(#[$enum_meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $( $(#[$meta])* $value, )+ }

        impl $crate::label::Label for $name {
            const ALL: &'static [Self] = &[$( Self::$value, )+];

            fn index(self) -> usize {
                self as usize
            }

            fn as_str(self) -> &'static str {
                match self { $( Self::$value => $text, )+ }
            }
        }
    };
    (
        $(#[$enum_meta:meta])*
        $vis:vis enum $name:ident { $( $value:ident => $text:literal: $sentence:literal, )+ }
    ) => {
        $crate::label::label! {
            $(#[$enum_meta])*
            $vis enum $name { $( #[doc = $sentence] $value => $text, )+ }
        }

        impl $name {
            /// The value described in a sentence.
            pub fn sentence(self) -> &'static str {
                match self { $( Self::$value => $sentence, )+ }
            }
        }
    };
}

/// Serializes a value as its name.
pub(crate) fn as_str<L: Label, S: serde::Serializer>(label: &L, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(label.as_str())
}

pub(crate) use {label, labels};
