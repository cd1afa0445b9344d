//! What several passes need to mend things: space, the map of a file, a name in a directory, a new
//! directory, lost+found. All of it in the overlay, after pass 1, when it is known what is free.

mod file;
mod inline;
mod lost_found;
mod name;
mod rebuild;
mod release;
mod space;

pub(crate) use file::File;
pub(crate) use lost_found::LostNames;
pub(crate) use rebuild::Rebuilt;
