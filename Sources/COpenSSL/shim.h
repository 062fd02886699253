#pragma once
// One static inline per libssl or libcrypto macro, nothing else.
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
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
static inline uint64_t gate_SSL_OP_NO_ANTI_REPLAY(void) { return SSL_OP_NO_ANTI_REPLAY; }
static inline uint64_t gate_SSL_OP_PRIORITIZE_CHACHA(void) { return SSL_OP_PRIORITIZE_CHACHA; }

// DTLS.
static inline long gate_SSL_set_mtu(SSL *ssl, long bytes) { return SSL_set_mtu(ssl, bytes); }
static inline int gate_SSL_CTX_set_max_send_fragment(SSL_CTX *ctx, long bytes) {
  return (int)SSL_CTX_set_max_send_fragment(ctx, bytes);
}
static inline uint64_t gate_SSL_OP_NO_QUERY_MTU(void) { return SSL_OP_NO_QUERY_MTU; }
static inline uint64_t gate_SSL_OP_COOKIE_EXCHANGE(void) { return SSL_OP_COOKIE_EXCHANGE; }
static inline uint64_t gate_SSL_OP_NO_TICKET(void) { return SSL_OP_NO_TICKET; }
// OSSL_PARAM lists cannot be written down in Swift without as many temporaries.
static inline int gate_EVP_MAC_CTX_use_sha256(EVP_MAC_CTX *ctx) {
  OSSL_PARAM params[] = {
    OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
    OSSL_PARAM_construct_end(),
  };
  return EVP_MAC_CTX_set_params(ctx, params);
}
static inline int gate_SSL_CTX_new_ex_index(CRYPTO_EX_free *release) {
  return SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, release);
}
static inline int gate_sk_GENERAL_NAME_num(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }
static inline GENERAL_NAME *gate_sk_GENERAL_NAME_value(const GENERAL_NAMES *names, int i) {
  return sk_GENERAL_NAME_value(names, i);
}
static inline int gate_EVP_CTRL_GCM_get_tag(EVP_CIPHER_CTX *ctx, int count, void *tag) {
  return EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, count, tag);
}
static inline int gate_EVP_CTRL_GCM_set_tag(EVP_CIPHER_CTX *ctx, int count, void *tag) {
  return EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, count, tag);
}
// OSSL_PARAM keeps pointers to its names, which Swift's strings do not outlive a call for.
static inline int gate_EVP_MAC_CTX_set_sha256_key(EVP_MAC_CTX *ctx, const void *key, size_t count) {
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key, count),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0), OSSL_PARAM_construct_end()};
  return EVP_MAC_CTX_set_params(ctx, params);
}
