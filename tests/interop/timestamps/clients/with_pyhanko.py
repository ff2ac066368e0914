"""pyHanko: stamp FILE of a PDF by the authority at URL and verify it under ROOT; or be refused."""

import asyncio
import sys

from pyhanko.keys import load_cert_from_pemder
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.signers import PdfTimeStamper
from pyhanko.sign.timestamps import HTTPTimeStamper
from pyhanko.sign.timestamps.common_utils import dummy_digest
from pyhanko.sign.validation import async_validate_pdf_timestamp
from pyhanko_certvalidator import ValidationContext


def context(roots):
    return ValidationContext(trust_roots=roots, allow_fetching=False)


async def stamp(url, root, path):
    stamper = HTTPTimeStamper(url, timeout=60)
    with open(path, "rb") as source:
        stamped = await PdfTimeStamper(stamper).async_timestamp_pdf(
            IncrementalPdfFileWriter(source), "sha256", context([root])
        )
    (signature,) = PdfFileReader(stamped).embedded_timestamp_signatures
    status = await async_validate_pdf_timestamp(signature, context([root]))
    if not (status.valid and status.intact and status.trusted):
        sys.exit(f"not good: {status.summary()}")
    signer = signature.signer_info
    unsigned = [attribute["type"].dotted for attribute in signer["unsigned_attrs"]]
    print(f"good: {status.summary()}; {status.timestamp}; unsigned {unsigned}")

    (signature,) = PdfFileReader(stamped).embedded_timestamp_signatures
    status = await async_validate_pdf_timestamp(signature, context([]))
    if status.trusted:
        sys.exit("good without any root, too")


async def refused(url):
    token = await HTTPTimeStamper(url).async_timestamp(dummy_digest("sha1"), "sha1")
    print(f"got {token.native}")


def main():
    match sys.argv[1:]:
        case ["stamp", url, root, path]:
            asyncio.run(stamp(url, load_cert_from_pemder(root), path))
        case ["refused", url]:
            asyncio.run(refused(url))


main()
