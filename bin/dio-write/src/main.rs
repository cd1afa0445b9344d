//! `dio-write`: writes a file inside an unmounted ext4 image.

use std::process::ExitCode;

fn main() -> ExitCode {
    ext4_cli::program::main("dio-write", |args| dio_write::run::run(&args))
}
