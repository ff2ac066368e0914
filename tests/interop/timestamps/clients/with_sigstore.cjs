// @sigstore/core: have a file stamped by its digest, as sigstore's clients ask for it, in JSON at a
// base URL, and verify the answer with the unit's key.
//
//   with_sigstore.cjs stamp BASE UNIT FILE
//   with_sigstore.cjs refused BASE FILE POLICY

const { readFileSync } = require('node:fs');
const { createHash } = require('node:crypto');
const { RFC3161Timestamp, X509Certificate, crypto } = require('@sigstore/core');

async function ask(base, data, more) {
  const answer = await fetch(`${base}/api/v1/timestamp`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({
      artifactHash: createHash('sha256').update(data).digest('base64'),
      hashAlgorithm: 'sha256',
      ...more,
    }),
  });
  const body = Buffer.from(await answer.arrayBuffer());
  if (answer.status !== 200 && answer.status !== 201) {
    throw new Error(`status ${answer.status}: ${body}`);
  }
  return RFC3161Timestamp.parse(body);
}

async function stamp(base, unit, data) {
  const certificate = X509Certificate.parse(readFileSync(unit, 'utf8'));
  const key = crypto.createPublicKey(certificate.publicKey);
  for (const certificates of [true, false]) {
    const timestamp = await ask(base, data, { certificates, nonce: 4294967291 });
    timestamp.verify(data, key);
    if (!timestamp.signerSerialNumber.equals(certificate.serialNumber)) {
      throw new Error('another signer');
    }
    let other = false;
    try {
      timestamp.verify(Buffer.concat([data, Buffer.from('!')]), key);
      other = true;
    } catch {}
    if (other) throw new Error('good for other data, too');
    console.log(`good: status ${timestamp.status} at ${timestamp.signingTime.toISOString()}`);
  }
}

async function refused(base, data, policy) {
  const timestamp = await ask(base, data, { certificates: true, tsaPolicyOID: policy });
  console.log(`status ${timestamp.status}`);
  timestamp.verify(data, undefined);
}

const [command, base, ...rest] = process.argv.slice(2);
const run = {
  stamp: () => stamp(base, rest[0], readFileSync(rest[1])),
  refused: () => refused(base, readFileSync(rest[0]), rest[1]),
}[command];
run().catch((error) => {
  console.error(`${error.name}: ${error.message}`);
  process.exitCode = 1;
});
