/* A stand-in for libnvidia-ml.so.1, loaded by nvidia-ml-py: the calls, structs and codes of NVML's
   public API, answering from the table in cards.h, which the test writes. Handles point into that
   table. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *name, *uuid;
    unsigned long long total, reserved, used;
    int mig, most, compute;
    int lost; /* 1: has no handle, as a slice that was not made; 2: lost once it has one */
    int first, count; /* its MIG slices, in the same table */
} card;

#include "cards.h"

enum { OK = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, LOST = 15 };

int nvmlInitWithFlags(unsigned flags) {
#ifdef HANG
    sleep(60);
#endif
    return INIT;
}
int nvmlShutdown(void) { return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = WHOLE; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, card **out) {
    if (index >= WHOLE) return INVALID;
    if (cards[index].lost == 1) return LOST;
    *out = (card *)&cards[index];
    return OK;
}
int nvmlDeviceGetName(card *c, char *out, unsigned length) {
    if (c->lost) return LOST;
    strncpy(out, c->name, length);
    return OK;
}
int nvmlDeviceGetUUID(card *c, char *out, unsigned length) {
    strncpy(out, c->uuid, length);
    return OK;
}
static unsigned long long used(card *c) {
    const char *now = getenv("FAKE_USED");
    return now ? strtoull(now, 0, 10) : c->used;
}
int nvmlDeviceGetMemoryInfo(card *c, unsigned long long out[3]) {
    if (!c->total) return UNSUPPORTED;
    out[0] = c->total;
    out[1] = c->total - c->reserved - used(c);
    out[2] = c->reserved + used(c);
    return OK;
}
#ifndef OLD_DRIVER
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
int nvmlDeviceGetMemoryInfo_v2(card *c, memory_v2 *out) {
    if (out->version != (sizeof(memory_v2) | (2u << 24))) return INVALID;
    if (!c->total) return UNSUPPORTED;
    out->total = c->total;
    out->reserved = c->reserved;
    out->used = used(c);
    out->free = c->total - c->reserved - used(c);
    return OK;
}
#endif
int nvmlDeviceGetMigMode(card *c, unsigned *current, unsigned *pending) {
    if (!c->most) return UNSUPPORTED;
    *current = *pending = c->mig;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(card *c, unsigned *count) { *count = c->most; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(card *c, unsigned index, card **out) {
    if (index >= (unsigned)c->count || cards[c->first + index].lost) return NOT_FOUND;
    *out = (card *)&cards[c->first + index];
    return OK;
}
typedef struct { unsigned sm, copy, dec, enc, jpeg, ofa, gpu, compute; unsigned long long mib; } attributes;
int nvmlDeviceGetAttributes_v2(card *c, attributes *out) {
    memset(out, 0, sizeof *out);
    out->compute = c->compute;
    out->mib = c->total >> 20;
    return OK;
}
