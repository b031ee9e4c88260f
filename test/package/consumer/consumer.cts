/** consumer - a CommonJS file of an embedder's, where Node and TypeScript let it require ESM. */
import pagefold = require("pagefold");

async function main(): Promise<void> {
  const engine: pagefold.Engine = await pagefold.createEngine({ workers: false });
  const guest: pagefold.EngineGuest = engine.createGuest({ bytes: pagefold.PAGE_SIZE });
  console.log(guest.bytes);
  await engine.close();
}

void main();
