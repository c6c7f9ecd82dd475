# Certificates of every make, each in a directory: server.crt and server.key for the server, root.crt for its clients.
set -eu
subject() { printf '/O=Lifeboat tests/CN=%s' "$1"; }
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:"${2:-P-256}" -out "$1" 2>/dev/null; }
# root NAME EXTENSIONS [OPTIONS]: a root of its own.
root() {
  local name=$1 extensions=$2
  shift 2
  key "$name.key"
  openssl req -new -key "$name.key" -subj "$(subject "$name")" -out "$name.csr"
  if [ -n "$extensions" ]; then
    printf '%b\n' "$extensions" >"$name.ext"
    openssl x509 -req -in "$name.csr" -signkey "$name.key" -days 30 -extfile "$name.ext" "$@" -out "$name.crt" 2>/dev/null
  else
    openssl x509 -req -in "$name.csr" -signkey "$name.key" -days 30 "$@" -out "$name.crt" 2>/dev/null
  fi
}
# make NAME CA CN EXTENSIONS [OPTIONS]: a server's certificate with the key in leaf.key, or in NAME.key.
make() {
  local name=$1 ca=$2 cn=$3 extensions=$4
  shift 4
  local own=leaf.key
  [ ! -e "$name.key" ] || own=$name.key
  mkdir -p "$name"
  cp "$own" "$name/server.key"
  openssl req -new -key "$own" -subj "$(subject "$cn")" -out "$name.csr"
  local options=()
  if [ -n "$extensions" ]; then
    printf '%b\n' "$extensions" >"$name.ext"
    options=(-extfile "$name.ext")
  fi
  ${NOW:+faketime "$NOW"} openssl x509 -req -in "$name.csr" -CA "$ca.crt" -CAkey "$ca.key" -CAcreateserial -days 30 \
    ${options[@]+"${options[@]}"} "$@" -out "$name/server.crt" 2>/dev/null
  cp "$ca.crt" "$name/root.crt"
}
LOCAL='subjectAltName=DNS:localhost'
CA='basicConstraints=critical,CA:TRUE'
key leaf.key
root ca "$CA\nkeyUsage=keyCertSign,cRLSign"
root other "$CA"
root v1 ''
root nobody 'basicConstraints=CA:FALSE'
root no-signing "$CA\nkeyUsage=digitalSignature"
root named "$CA\nnameConstraints=permitted;DNS:localhost"
root elsewhere "$CA\nnameConstraints=critical,permitted;DNS:example.org"
root for-clients "$CA\nextendedKeyUsage=clientAuth"

make usual ca localhost "$LOCAL"
make common-name-only ca localhost 'basicConstraints=CA:FALSE'
make version-1 ca localhost ''
make capitals ca LocalHost 'basicConstraints=CA:FALSE'
make address ca localhost 'subjectAltName=IP:127.0.0.1'
make address-6 ca other 'subjectAltName=IP:::1,DNS:localhost'
make address-as-name ca other 'subjectAltName=DNS:127.0.0.1'
make address-as-common-name ca 127.0.0.1 ''
make other-name ca localhost 'subjectAltName=DNS:other.example.test'
make other-common-name ca other.example.test ''
make mail-only ca localhost 'subjectAltName=email:a@example.test'
make star ca x 'subjectAltName=DNS:*.example.test'
make star-in-common-name ca '*.example.test' ''
make star-too-wide ca x 'subjectAltName=DNS:*.test,DNS:db.*.test,DNS:d*.example.test'
make for-clients-only ca localhost "$LOCAL\nextendedKeyUsage=clientAuth"
make for-servers ca localhost "$LOCAL\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature"
make any-purpose ca localhost "$LOCAL\nextendedKeyUsage=anyExtendedKeyUsage"
make wrong-usage ca localhost "$LOCAL\nkeyUsage=critical,cRLSign"
make unknown-critical ca localhost "$LOCAL\n1.2.3.4=critical,ASN1:NULL"
make unknown-harmless ca localhost "$LOCAL\n1.2.3.4=ASN1:NULL"
make below-version-1 v1 localhost "$LOCAL"
make below-nobody nobody localhost "$LOCAL"
make below-no-signing no-signing localhost "$LOCAL"
make below-named named localhost "$LOCAL"
make below-elsewhere elsewhere localhost "$LOCAL"
make below-for-clients for-clients localhost "$LOCAL"
NOW='2020-01-01' make expired ca localhost "$LOCAL"
NOW='2040-01-01' make not-yet ca localhost "$LOCAL"
make other-authority other localhost "$LOCAL"
cp ca.crt other-authority/root.crt
make two-roots ca localhost "$LOCAL"
cat other.crt ca.crt >two-roots/root.crt
make no-certificates ca localhost "$LOCAL"
echo nothing >no-certificates/root.crt
make itself-trusted ca localhost "$LOCAL"
cp itself-trusted/server.crt itself-trusted/root.crt

mkdir self-signed self-signed-unknown self-signed-plain
for name in self-signed self-signed-unknown; do
  openssl req -x509 -key leaf.key -subj "$(subject localhost)" -days 30 -out $name/server.crt
  cp leaf.key $name/server.key
done
cp self-signed/server.crt self-signed/root.crt
cp ca.crt self-signed-unknown/root.crt
openssl req -new -key leaf.key -subj "$(subject localhost)" -out plain.csr
openssl x509 -req -in plain.csr -signkey leaf.key -days 30 -out self-signed-plain/server.crt 2>/dev/null
cp leaf.key self-signed-plain/server.key
cp self-signed-plain/server.crt self-signed-plain/root.crt

# An authority in between: sent by the server, held by the client, nowhere, or in place of the root.
key between.key
openssl req -new -key between.key -subj "$(subject between)" -out between.csr
printf '%b\n' "$CA" >between.ext
openssl x509 -req -in between.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile between.ext -out between.crt 2>/dev/null
for name in between-sent between-held between-missing between-as-root; do make $name between localhost "$LOCAL"; done
cat between.crt >>between-sent/server.crt
cp ca.crt between-sent/root.crt
cat ca.crt between.crt >between-held/root.crt
cp ca.crt between-missing/root.crt
root short "$CA,pathlen:0"
openssl x509 -req -in between.csr -CA short.crt -CAkey short.key -CAcreateserial -days 30 -extfile between.ext -out between.crt 2>/dev/null
make path-too-long between localhost "$LOCAL"
cat between.crt >>path-too-long/server.crt
cp short.crt path-too-long/root.crt

# Keys and signatures of other kinds.
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.key 2>/dev/null
make rsa ca localhost "$LOCAL"
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out rsa-1024.key 2>/dev/null
make rsa-1024 ca localhost "$LOCAL"
openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out rsa-pss.key 2>/dev/null
make rsa-pss ca localhost "$LOCAL"
openssl genpkey -algorithm ED25519 -out ed25519.key
make ed25519 ca localhost "$LOCAL"
key p384.key P-384
make p384 ca localhost "$LOCAL"
key p521.key P-521
make p521 ca localhost "$LOCAL"
openssl genpkey -algorithm ED448 -out ed448.key
make ed448 ca localhost "$LOCAL"
root big "$CA"
key big.key P-521
openssl req -new -key big.key -subj "$(subject big)" -out big.csr
openssl x509 -req -in big.csr -signkey big.key -days 30 -extfile big.ext -out big.crt 2>/dev/null
for digest in sha256 sha384 sha512; do make below-p521-$digest big localhost "$LOCAL" -$digest; done
make sha1 ca localhost "$LOCAL" -sha1
make sha384 ca localhost "$LOCAL" -sha384
make sha512 ca localhost "$LOCAL" -sha512

# Lists of revoked certificates.
for name in revoked not-revoked list-expired list-of-others; do make $name ca localhost "$LOCAL"; done
printf '[ca]\ndefault_ca=it\n[it]\ndatabase=index\ncrlnumber=number\ndefault_md=sha256\ndefault_crl_days=30\n' >ca.conf
touch index
echo 01 >number
crl() { openssl ca -config ca.conf -gencrl -keyfile "${2:-ca}.key" -cert "${2:-ca}.crt" -out "$1/root.crl" 2>/dev/null; }
crl not-revoked
(NOW='2020-01-01'; faketime "$NOW" openssl ca -config ca.conf -gencrl -keyfile ca.key -cert ca.crt -out list-expired/root.crl 2>/dev/null)
crl list-of-others other
openssl ca -config ca.conf -revoke revoked/server.crt -keyfile ca.key -cert ca.crt 2>/dev/null
crl revoked

# What a client shows.
mkdir client
key client/client.key
openssl req -new -key client/client.key -subj "$(subject certified)" -out client.csr
openssl x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out client/client.crt 2>/dev/null
cp ca.crt client/root.crt
openssl pkcs8 -topk8 -v2 aes-128-cbc -passout pass:x -in client/client.key -out client/encrypted.key
openssl pkey -in client/client.key -outform DER -out client/client.der
