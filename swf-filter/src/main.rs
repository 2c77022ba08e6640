//! The command `swf-filter`.

use std::process::ExitCode;

fn main() -> ExitCode {
    swf_filter::cli::main()
}
