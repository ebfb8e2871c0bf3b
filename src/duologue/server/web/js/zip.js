// Reads and writes ZIP files, as far as office documents need it: no encryption, no ZIP64.
// Format: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.16 (end).

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const STORED = 0;
const DEFLATED = 8;
const IS_UTF8 = 0x0800;
const IS_ENCRYPTED = 0x0001;
const MAX_ENTRIES = 5000;

/** An entry as it lies in the file: {name, method, crc, size, data}, data still packed. */
export async function readZip(file) {
  const buffer = await file.arrayBuffer();
  const view = new DataView(buffer);
  let at = buffer.byteLength - 22;
  while (at >= 0 && view.getUint32(at, true) !== END) at -= 1;
  if (at < 0) throw new TypeError("no ZIP file");
  const count = view.getUint16(at + 10, true);
  if (count > MAX_ENTRIES) throw new TypeError("too many entries");
  const entries = [];
  let place = view.getUint32(at + 16, true);
  for (let index = 0; index < count; index += 1) {
    if (view.getUint32(place, true) !== CENTRAL) throw new TypeError("a damaged ZIP file");
    if (view.getUint16(place + 8, true) & IS_ENCRYPTED) throw new TypeError("an encrypted file");
    const nameSize = view.getUint16(place + 28, true);
    const rest = view.getUint16(place + 30, true) + view.getUint16(place + 32, true);
    const local = view.getUint32(place + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    entries.push({
      name: new TextDecoder().decode(new Uint8Array(buffer, place + 46, nameSize)),
      method: view.getUint16(place + 10, true),
      crc: view.getUint32(place + 16, true),
      size: view.getUint32(place + 24, true),
      data: new Uint8Array(buffer, start, view.getUint32(place + 20, true)),
    });
    place += 46 + nameSize + rest;
  }
  return entries;
}

/** The text of an entry; throws TypeError if it has more than `maxBytes`. */
export async function textOf(entry, maxBytes) {
  if (entry.method === STORED) return new TextDecoder().decode(entry.data);
  if (entry.method !== DEFLATED) throw new TypeError("packed in an unknown way");
  const stream = new Blob([entry.data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for (const reader = stream.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    size += value.byteLength;
    if (size > maxBytes) {
      await reader.cancel();
      throw new TypeError("too large when unpacked");
    }
    text += decoder.decode(value, { stream: true });
  }
}

/** An entry with another text. */
export async function withText(entry, text) {
  const plain = new TextEncoder().encode(text);
  const stream = new Blob([plain]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const data = new Uint8Array(await new Response(stream).arrayBuffer());
  return { ...entry, method: DEFLATED, crc: crc32(plain), size: plain.length, data };
}

/** A ZIP file of entries, in their order. */
export function writeZip(entries, type) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const entry of entries) {
    const name = new TextEncoder().encode(entry.name);
    const header = record(30, [LOCAL, 4], ...common(entry, name), [0, 2]);
    directory.push(
      record(46, [CENTRAL, 4], [20, 2], ...common(entry, name), [0, 2], [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]),
      name,
    );
    parts.push(header, name, entry.data);
    offset += header.length + name.length + entry.data.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = entries.length;
  const end = record(22, [END, 4], [0, 4], [count, 2], [count, 2], [size, 4], [offset, 4], [0, 2]);
  return new Blob([...parts, ...directory, end], { type });
}

/** What the local header and the directory say alike; the date is 1 January 1980. */
const common = ({ method, crc, size, data }, name) => [
  [20, 2],
  [IS_UTF8, 2],
  [method, 2],
  [0, 2],
  [0x21, 2],
  [crc, 4],
  [data.length, 4],
  [size, 4],
  [name.length, 2],
];

/** Bytes of a header: fields are [value, width], little endian. */
function record(length, ...fields) {
  const view = new DataView(new ArrayBuffer(length));
  let at = 0;
  for (const [value, width] of fields) {
    if (width === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += width;
  }
  return new Uint8Array(view.buffer);
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc32(data) {
  let crc = 0xffffffff;
  for (const byte of data) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff];
  return (crc ^ 0xffffffff) >>> 0;
}
