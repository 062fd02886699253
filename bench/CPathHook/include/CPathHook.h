#pragma once
// Nothing to call: see pathhook.c.
