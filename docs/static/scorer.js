/* The order of search results. Sphinx gives every page that has a word of the query in a heading the same score. */
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
      const having = [Search._index.terms[word] ?? []].flat().length;
      const rarity = Math.log(1 + Scorer.pages.size / (1 + having));
      const count = (words) => words.filter((other) => other === word).length;
      const headings = Math.min(count(page.headings), 3);
      sum += rarity * (1 + (10 * count(page.title)) / Math.sqrt(page.title.length) + 2 * count(page.name) + 2 * headings);
    }
    return sum;
  },

  readHeadings: () => {
    const { docnames, titles, alltitles } = Search._index;
    const read = (name, i) => [name, { title: Scorer.stems(titles[i]), name: Scorer.stems(name), headings: [] }];
    const pages = new Map(docnames.map(read));
    for (const [heading, places] of Object.entries(alltitles))
      for (const [file] of places) pages.get(docnames[file]).headings.push(...Scorer.stems(heading));
    return pages;
  },

  stems: (text) => {
    const stemmer = new Stemmer();
    const words = splitQuery(text.toLowerCase()).filter((word) => !stopwords.has(word));
    return words.map((word) => stemmer.stemWord(word));
  },
};
