//! `ext4-mkfs`: makes an ext2, ext3 or ext4 filesystem.

use std::process::ExitCode;

fn main() -> ExitCode {
    ext4_cli::program::main("ext4-mkfs", |args| ext4_mkfs_cli::run::run(&args))
}
