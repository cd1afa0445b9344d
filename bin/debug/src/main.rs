//! `ext4-debug`: shows what is in an ext4 image.

use std::process::ExitCode;

fn main() -> ExitCode {
    ext4_cli::program::main("ext4-debug", |args| ext4_debug::run::run(&args))
}
