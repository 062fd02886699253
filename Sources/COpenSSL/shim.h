#pragma once
// One static inline per libssl or libcrypto macro, nothing else.
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static inline int gate_SSL_CTX_set_min_proto_version(SSL_CTX *ctx, int version) {
  return (int)SSL_CTX_set_min_proto_version(ctx, version);
}
static inline int gate_SSL_CTX_set_max_proto_version(SSL_CTX *ctx, int version) {
  return (int)SSL_CTX_set_max_proto_version(ctx, version);
}
static inline int gate_SSL_CTX_set1_groups_list(SSL_CTX *ctx, const char *list) {
  return (int)SSL_CTX_set1_groups_list(ctx, (char *)list);
}
static inline long gate_SSL_CTX_set_mode(SSL_CTX *ctx, long mode) { return SSL_CTX_set_mode(ctx, mode); }
static inline long gate_SSL_CTX_set_session_cache_mode(SSL_CTX *ctx, long mode) {
  return SSL_CTX_set_session_cache_mode(ctx, mode);
}
static inline int gate_SSL_CTX_set_tlsext_ticket_keys(SSL_CTX *ctx, const void *keys, long count) {
  return (int)SSL_CTX_set_tlsext_ticket_keys(ctx, (void *)keys, count);
}
static inline int gate_SSL_CTX_add1_chain_cert(SSL_CTX *ctx, X509 *certificate) {
  return (int)SSL_CTX_add1_chain_cert(ctx, certificate);
}
static inline int gate_SSL_set_tlsext_host_name(SSL *ssl, const char *name) {
  return (int)SSL_set_tlsext_host_name(ssl, (char *)name);
}
static inline void gate_BIO_clear_retry_flags(BIO *bio) { BIO_clear_retry_flags(bio); }
static inline void gate_BIO_set_retry_read(BIO *bio) { BIO_set_retry_read(bio); }
static inline EVP_PKEY *gate_EVP_EC_gen_P256(void) { return EVP_EC_gen("P-256"); }
static inline size_t gate_BIO_get_mem_data(BIO *bio, const unsigned char **data) {
  char *bytes = 0;
  long count = BIO_get_mem_data(bio, &bytes);
  *data = (const unsigned char *)bytes;
  return count > 0 ? (size_t)count : 0;
}
static inline uint64_t gate_SSL_OP_NO_RENEGOTIATION(void) { return SSL_OP_NO_RENEGOTIATION; }
static inline uint64_t gate_SSL_OP_NO_COMPRESSION(void) { return SSL_OP_NO_COMPRESSION; }
static inline uint64_t gate_SSL_OP_CIPHER_SERVER_PREFERENCE(void) { return SSL_OP_CIPHER_SERVER_PREFERENCE; }
static inline uint64_t gate_SSL_OP_PRIORITIZE_CHACHA(void) { return SSL_OP_PRIORITIZE_CHACHA; }
