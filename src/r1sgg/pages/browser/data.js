// The data: columns of all images, held; details and pictures of an image, read when they are needed.
const data = jsonOf("data");
const { ids, runs } = data;
const total = ids.length;
const FOUND = "f";

const numberOf = (names) => new Map(names.map((name, k) => [name, k]));
const classNumber = numberOf(data.classes);
const predicateNumber = numberOf(data.predicates);

// Shards: in the page as JSON, or scripts beside it that call r1sggShard.
const shards = new Map();
const waiting = new Map();
window.r1sggShard = (number, rows) => {
  shards.set(number, rows);
  for (const resolve of waiting.get(number)?.resolves ?? []) resolve(rows);
  waiting.delete(number);
};
const shard = (number) => {
  if (shards.has(number)) return Promise.resolve(shards.get(number));
  if (data.embedded) {
    shards.set(number, jsonOf(`shard-${number}`));
    return Promise.resolve(shards.get(number));
  }
  return new Promise((resolve, reject) => {
    const entry = waiting.get(number) ?? { resolves: [], rejects: [] };
    entry.resolves.push(resolve);
    entry.rejects.push(reject);
    if (waiting.has(number)) return;
    waiting.set(number, entry);
    const failed = () => {
      waiting.delete(number);
      for (const refuse of entry.rejects) refuse(new Error(`${data.folder}/s${number}.js cannot be read`));
    };
    document.head.append(h("script", { src: `${encodeURI(data.folder)}/s${number}.js`, error: failed }));
  });
};
const detail = async (image) => (await shard(Math.floor(image / data.perShard)))[image % data.perShard];

// The address of an image's picture; "" where the page holds all and has none.
const picture = (image) =>
  data.embedded ? (byId(`image-${image}`)?.textContent ?? "") : `${encodeURI(data.folder)}/i${image}.webp`;
