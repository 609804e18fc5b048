/* The results of a search and their order. Sphinx finds the pages that have every word of a query, and gives each that
   has one of them in a heading the same score. Sphinx loads this file after its own search. */
"use strict";

var Scorer = {
  objNameMatch: 11, // the numbers of Sphinx
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,

  /* A name in code leads to objects, and other words to pages; guides come first, and generated lists last. */
  score: ([docname, , , , score, , kind]) => {
    const query = new URLSearchParams(window.location.search).get("q") ?? "";
    if (kind === "object" || kind === "index") return /[_.A-Z]/.test(query) ? 1000 + score : score / 100;
    Scorer.pages ??= Scorer.readHeadings();
    const generated = /^reference\/(api|commands|options)\//.test(docname);
    const weight = generated ? 0.5 : docname.startsWith("how-to/") ? 1.1 : 1;
    return Scorer.relevance(Scorer.pages.get(docname), query) * weight;
  },

  /* Each word counts more in a title than in other headings and in the text, and more if few pages have it. */
  relevance: (page, query) => {
    let sum = 0;
    for (const word of Scorer.stems(query)) {
      const { terms, titleterms } = Search._index;
      const having = new Set([terms[word] ?? [], titleterms[word] ?? []].flat());
      if (having.size && !having.has(page.number)) continue;
      const rarity = Math.log(1 + Scorer.pages.size / (1 + having.size));
      const count = (words) => words.filter((other) => other === word).length;
      const headings = Math.min(count(page.headings), 3);
      const keyword = 6 * Math.min(count(page.keywords), 1);
      const title = (10 * count(page.title)) / Math.sqrt(page.title.length);
      sum += rarity * (1 + title + keyword + 2 * count(page.name) + 2 * headings);
    }
    return sum;
  },

  readHeadings: () => {
    const { docnames, titles, alltitles } = Search._index;
    const read = (name, number) => [
      name,
      { number, title: Scorer.stems(titles[number]), name: Scorer.stems(name), headings: [], keywords: [] },
    ];
    const pages = new Map(docnames.map(read));
    const keywords = JSON.parse(document.querySelector('meta[name="keywords-of-pages"]').content);
    for (const [heading, places] of Object.entries(alltitles))
      for (const [file] of places) pages.get(docnames[file]).headings.push(...Scorer.stems(heading));
    for (const [name, text] of Object.entries(keywords)) pages.get(name).keywords = Scorer.stems(text);
    return pages;
  },

  stems: (text) => {
    const stemmer = new Stemmer();
    const words = splitQuery(text.toLowerCase()).filter((word) => !stopwords.has(word));
    return words.map((word) => stemmer.stemWord(word));
  },
};

/* Where fewer pages than this have every word, the pages with some of the words are found too. */
const FEW = 3;

const findAll = Search.performTermsSearch;
Search.performTermsSearch = (words, excluded) => {
  const found = findAll(words, excluded);
  if (found.length >= FEW) return found;
  const some = [...words].flatMap((word) => findAll(new Set([word]), excluded));
  return [...new Map(some.map((result) => [result[0], result])).values()];
};
