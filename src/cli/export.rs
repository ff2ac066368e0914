//! `jurat export`: a time-stamp or a receipt in the form that another program wants.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use jurat_proto::cose::receipt::CoseReceipt;
use jurat_proto::cose::{SIGN1_BYTES_MAX, Sign1, ttc_header};
use jurat_proto::receipt::Receipt;
use jurat_proto::tsp::response::RESPONSE_BYTES_MAX;

use super::output;
use super::token::read_token;
use super::verify::{is_receipt, read_file, write_file};

/// Arguments of `jurat export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The time-stamp (.tsr), or for `cose-receipt` a receipt (.tlog-proof), too
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The form
    #[arg(long = "as", value_name = "FORM")]
    form: Form,
    /// For `cose-ctt`: the `COSE_Sign1` message whose signature was stamped
    #[arg(long, value_name = "FILE", required_if_eq("form", "cose-ctt"))]
    message: Option<PathBuf>,
    /// Where to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Write over a file that exists
    #[arg(long)]
    force: bool,
}

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The token alone, without the authority's answer around it
    Token,
    /// The receipt inside, as a file of its own (C2SP tlog-proof)
    TlogProof,
    /// The message with the time-stamp of its signature in it (RFC 9921, parameter 270)
    CoseCtt,
    /// A header with the time-stamp of a payload, for a message that is yet to be signed (RFC 9921,
    /// parameter 269)
    CoseTtc,
    /// The receipt, or the receipt inside, for programs that know COSE receipts (RFC 9942)
    CoseReceipt,
}

/// Writes the time-stamp or receipt in another form. Nothing is verified but that the parts belong
/// together.
///
/// # Errors
/// When the file is no time-stamp or receipt, lacks what is wanted, or is not about the message.
pub(super) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let file = args.file.display();
    let bytes = read_file(&args.file, u64::try_from(RESPONSE_BYTES_MAX)?)?;
    let exported = exported(args, &bytes).with_context(|| format!("{file}"))?;
    write_file(&args.output, &exported, args.force)?;
    output::line(format_args!("{file}: written to {}", args.output.display()));
    Ok(ExitCode::SUCCESS)
}

fn exported(args: &ExportArgs, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    if args.form == Form::CoseReceipt && is_receipt(bytes) {
        return in_cose(bytes);
    }
    let token = read_token(bytes)?;
    let receipt = || token.receipt().context("there is no receipt inside");
    Ok(match args.form {
        Form::Token => token.to_bytes(),
        Form::TlogProof => receipt()?.to_vec(),
        Form::CoseReceipt => in_cose(receipt()?)?,
        Form::CoseTtc => ttc_header(&token),
        Form::CoseCtt => {
            let path = args.message.as_ref().context("give --message")?;
            let message = read_file(path, u64::try_from(SIGN1_BYTES_MAX)?)?;
            let message = Sign1::parse(&message).with_context(|| format!("{}", path.display()))?;
            message.with_token(&token)?.to_bytes()
        }
    })
}

// Spec: RCP-15
fn in_cose(receipt: &[u8]) -> anyhow::Result<Vec<u8>> {
    Ok(CoseReceipt::new(&Receipt::parse(receipt)?)?.to_bytes())
}
