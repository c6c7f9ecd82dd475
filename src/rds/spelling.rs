//! Enums for the words that AWS answers with. A word that AWS adds later is kept as it is, and shown so.

/// Defines an enum, the word of each of its values, and `Other` for words that are not known.
macro_rules! aws_words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$doc])* $value,)+
            /// One that is not known here.
            Other(String),
        }

        impl $name {
            /// AWS's own word.
            pub(crate) fn as_str(&self) -> &str {
                match self {
                    $($name::$value => $word,)+
                    $name::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => $name::$value,)+
                    other => $name::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
                target.serialize_str(self.as_str())
            }
        }
    };
}

pub(super) use aws_words;
