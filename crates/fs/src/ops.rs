//! What can be done to files and names, each as a whole: all of it happens, or nothing, or recovery
//! finishes it.

mod evict;
mod truncate;
