"""rfc3161-client: have FILE stamped by the authority at URL and verify it under ROOT."""

import sys
import urllib.request

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)


def ask(url, request):
    headers = {"Content-Type": "application/timestamp-query"}
    with urllib.request.urlopen(urllib.request.Request(url, request, headers)) as answer:
        return decode_timestamp_response(answer.read())


def stamp(url, root, data):
    for algorithm in (HashAlgorithm.SHA256, HashAlgorithm.SHA512):
        request = TimestampRequestBuilder(data=data, hash_algorithm=algorithm).build()
        response = ask(url, request.as_bytes())
        verifier = VerifierBuilder.from_request(request).add_root_certificate(root).build()
        verifier.verify_message(response, data)
        try:
            verifier.verify_message(response, data + b"!")
            sys.exit("good for other data, too")
        except VerificationError:
            pass
        print(f"good: {response.tst_info.serial_number} at {response.tst_info.gen_time}")


def refused(url, query):
    response = ask(url, query)
    if PKIStatus(response.status) != PKIStatus.REJECTION:
        sys.exit(f"status {response.status}")
    print(f"{PKIStatus(response.status).name}: {'; '.join(response.status_string)}")


def main():
    match sys.argv[1:]:
        case ["stamp", url, root, path]:
            with open(root, "rb") as pem, open(path, "rb") as data:
                stamp(url, x509.load_pem_x509_certificate(pem.read()), data.read())
        case ["refused", url, path]:
            with open(path, "rb") as query:
                refused(url, query.read())


main()
