#include "CGateShims.h"
