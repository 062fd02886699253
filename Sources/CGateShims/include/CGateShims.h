#pragma once
// CPU instructions that Swift has no spelling for. Nothing else belongs here.
#include <stdint.h>
#include "crc32c.h"
