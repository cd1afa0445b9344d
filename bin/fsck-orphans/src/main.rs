//! `fsck-orphans`: brings an ext4 image back after a crash.

use std::process::ExitCode;

fn main() -> ExitCode {
    ext4_cli::program::main("fsck-orphans", |args| fsck_orphans::run::run(&args))
}
